#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
# xtask: modules=c-twins,raw-opener,selftests,sysctl-update memory=1024
#
# The modules in C that `cargo xtask bench` compares with do what those in Rust do: the same
# story twice, and the same log line for line but for the module's name.

. "$(dirname "$0")/functions.sh"

LIMIT=net.ipv4.tcp_challenge_ack_limit

require_command ip python3
require_ko ctwin_callbacks_demo ctwin_sysctl_update ctwin_raw_opener
require_ko test_klp_callbacks_demo test_klp_callbacks_mod sysctl_update raw_opener
# A story is taken down in a command substitution, where its first failure shall end it, too.
shopt -s inherit_errexit
ktap_plan 4

# story_of FUNC LP: what the kernel logs while FUNC LP runs, without the module's name
story_of()
{
	log_mark
	"$@"
	log_of "$2" '#' livepatch | sed "s/\b$2\b/LP/g"
}

# same_story FUNC C RUST
same_story()
{
	local in_c in_rust

	in_c=$(story_of "$1" "$2")
	in_rust=$(story_of "$1" "$3")
	[ -n "$in_c" ] || fail "$2 logs nothing"
	[ "$in_c" = "$in_rust" ] && return
	diag "C (-) and Rust (+):"
	diff -u <(echo "$in_c") <(echo "$in_rust") | tail -n +4 || true
	fail "$2 and $3 do not behave the same"
}

# With a target that is there, goes and comes back.
demo()
{
	load_mod test_klp_callbacks_mod
	load_lp "$1"
	unload_mod test_klp_callbacks_mod
	load_mod test_klp_callbacks_mod
	disable_lp "$1"
	unload_mod "$1"
	unload_mod test_klp_callbacks_mod
}

refused()
{
	load_fails ENODEV "$1" pre_patch_ret=-19
}

limits()
{
	show sysctl "$LIMIT"
	show in_ns fresh sysctl "$LIMIT"
}

# One namespace at the default, one that its administrator changed; one more dies meanwhile.
sysctl_update()
{
	save_sysctl "$LIMIT"
	sysctl -q -w "$LIMIT=100"
	netns_add fresh
	in_ns fresh sysctl -q -w "$LIMIT=100"
	netns_add dying
	in_ns dying sysctl -q -w "$LIMIT=100"
	load_lp "$1" when="$WHEN"
	limits
	ip netns del dying
	in_ns fresh sysctl -q -w "$LIMIT=7"
	disable_lp "$1"
	limits
	unload_mod "$1"
	ip netns del fresh
}

sysctl_both()
{
	for WHEN in pre post; do
		same_story sysctl_update ctwin_sysctl_update sysctl_update
	done
}

# hold PROTOCOL: a process holds a raw socket until it is killed
hold()
{
	python3 -c '
import socket, sys, time
open("/proc/self/comm", "w").write("holder")
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, int(sys.argv[1]))
time.sleep(900)' "$1" &
	HOLDERS="${HOLDERS-} $!"
	wait_for grep -q "$(printf ':%04X' "$1")" /proc/net/raw
}

# Addresses, inodes and process numbers differ from socket to socket.
raw()
{
	sed -E 's/ [0-9]+ ([0-9]+) [0-9a-f]{16} / INODE \1 ADDRESS /; s/\[[0-9]+\]/[PID]/' /proc/net/raw | sort
}

opener()
{
	HOLDERS=
	hold 200
	load_lp "$1"
	hold 201
	show raw
	disable_lp "$1"
	show raw
	unload_mod "$1"
	# shellcheck disable=SC2086 # a list of process numbers
	kill $HOLDERS
	# shellcheck disable=SC2086
	wait $HOLDERS 2>/dev/null || true
}

ktap_case "callbacks-demo in C tells what it tells in Rust" \
	same_story demo ctwin_callbacks_demo test_klp_callbacks_demo
ktap_case "callbacks-demo in C refuses as it does in Rust" \
	same_story refused ctwin_callbacks_demo test_klp_callbacks_demo
ktap_case "sysctl-update in C changes what it changes in Rust" sysctl_both
ktap_case "raw-opener in C shows what it shows in Rust" \
	same_story opener ctwin_raw_opener raw_opener
ktap_finish

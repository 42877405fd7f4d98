#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Every allocation between insmod and "patching complete" fails once, one after the other, and every call of a function
# that can fail: the livepatch is refused with a clean errno or works in spite, leaves nothing behind, and can be loaded
# again. fail_nth.py does the work and says what "nothing" is.
#
# A line for each sweep tells how many points there were and how they ended. With CI_FULL=1 a load without a fault follows
# each that was refused.
# KLP_SHARD=I/N: only every Nth case, from the Ith on.
#
# With one processor a transition need not wait for the idle task of the other, and ends at once instead of after a second.
#
# xtask: timeout=10800 nics=2 cpus=1 shards=4
# xtask: modules=asm-trampoline,deferred-work,failing-pre-patch,function-fix,netdev-features,raw-opener,selftests
# xtask: modules=state-handover,sysctl-update

. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/rules.sh"

NEXT=()
[ "${CI_FULL:-}" != 1 ] || NEXT=(--next)

# ---- what is swept ----------------------------------------------------------

# sweep MODULE [P=V…] [-- WATCH…]
sweep()
{
	local mod=$1 params=() watch=() word status=0 line

	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		params+=("$1")
		shift
	done
	for word in "${@:2}"; do
		watch+=(--watch "$word")
	done
	find_ko "$mod" > /dev/null || fail "no $mod.ko"
	unload_later "$mod"
	log "# faults: $mod ${params[*]}"
	"$KLP_DIR/fail_nth.py" "${watch[@]}" "${NEXT[@]}" "$REPLY" "${params[@]}" \
		> "$KLP_TMP/said" 2>&1 || status=$?
	while read -r line; do
		[[ $line != sweep=* ]] || diag "$mod ${params[*]} $line"
	done < "$KLP_TMP/said"
	if [ "$status" -ne 0 ]; then
		read_file "$KLP_TMP/said"
		diag "$REPLY"
		fail "the sweep of $mod ended with $status"
	fi
}

# ---- the cases ----------------------------------------------------------------

LIMIT=net.ipv4.tcp_challenge_ack_limit
LIMIT_FILE=/proc/sys/${LIMIT//.//}

sysctl_update()
{
	save_sysctl "$LIMIT"
	sysctl -q -w "$LIMIT=100"
	netns_add klp-old
	in_ns klp-old sysctl -q -w "$LIMIT=100"
	sweep sysctl_update "when=$1" -- "file=$LIMIT_FILE" "netns=klp-old:$LIMIT_FILE"
}

failing_pre_patch()
{
	require_module veth dummy
	load_mod veth
	load_mod dummy
	save_sysctl net.core.max_skb_frags
	sysctl -q -w net.core.max_skb_frags=17
	sweep failing_pre_patch -- file=/proc/sys/net/core/max_skb_frags
}

state_handover()
{
	save_sysctl net.core.rmem_max net.core.wmem_max
	sysctl -q -w net.core.rmem_max=212992 net.core.wmem_max=212992
	sweep state_handover -- file=/proc/sys/net/core/rmem_max file=/proc/sys/net/core/wmem_max
}

raw_opener()
{
	python3 -c 'import socket, time; s = [socket.socket(2, 3, i) for i in (1, 6, 17)]; time.sleep(100000)' &
	wait_for raw_sockets 3 || fail "no raw sockets"
	sweep raw_opener -- head=/proc/net/raw
}

raw_sockets()
{
	[ "$(($(wc -l < /proc/net/raw) - 1))" -ge "$1" ]
}

deferred_work()
{
	sweep deferred_work -- head=/proc/softirqs
}

asm_trampoline()
{
	load_mod asm_target
	sweep asm_trampoline -- file=/sys/kernel/asm_target/checksum file=/sys/kernel/asm_target/percent
}

netdev_features()
{
	require_module virtio_net
	modprobe virtio_net
	wait_for two_cards || skip "no two cards of virtio_net"
	sweep netdev_features -- "${NICS[@]/#*\//gro=}"
}

function_fix()
{
	load_mod test_klp_names
	sweep function_fix -- file=/proc/test_klp_names
}

two_cards()
{
	NICS=(/sys/bus/virtio/drivers/virtio_net/virtio*/net/*)
	[ -d "${NICS[0]}" ] && [ "${#NICS[@]}" -ge 2 ]
}

several_objects()
{
	uid_65534
	load_targets
	sweep rules_all -- "file=$UID_FILE" "file=$ANSWER"
}

# The other way about: the livepatch is there, and the target comes.
target_later()
{
	uid_65534
	load_lp rules_all
	sweep rules_target -- "file=$UID_FILE"
	expect_file "$KLP_SYSFS/rules_all/enabled" 1
	expect_file "$UID_FILE" 60001
}

# What is not an allocation. ftrace cannot be told to fail, but to be off.
no_ftrace()
{
	local mod

	save_sysctl kernel.ftrace_enabled
	uid_65534
	load_targets
	save_sysctl "$LIMIT" net.core.max_skb_frags
	sysctl -q -w "$LIMIT=100"
	for mod in rules_all sysctl_update deferred_work function_fix raw_opener; do
		sysctl -q -w kernel.ftrace_enabled=0 || skip "ftrace cannot be switched off here"
		load_fails EBUSY "$mod"
		sysctl -q -w kernel.ftrace_enabled=1
		expect_file "$UID_FILE" 65534
		expect_file "$LIMIT_FILE" 100
		load_lp "$mod"
		disable_lp "$mod"
		unload_mod "$mod"
	done
}

require_command python3 ethtool ip sysctl
rules_needs rules_all rules_target rules_other sysctl_update failing_pre_patch state_handover raw_opener \
	deferred_work asm_trampoline netdev_features function_fix test_klp_names fault

# Every case and what it runs, in rows of four; asm_trampoline takes the longest.
CASES=(
	"asm_trampoline|asm_trampoline"
	"sysctl_update, raising before the transition|sysctl_update pre"
	"sysctl_update, raising after it|sysctl_update post"
	"raw_opener|raw_opener"
	"state_handover|state_handover"
	"failing_pre_patch|failing_pre_patch"
	"function_fix|function_fix"
	"rules_all, three objects|several_objects"
	"ftrace is off|no_ftrace"
	"netdev_features|netdev_features"
	"deferred_work|deferred_work"
	"a target that is loaded later|target_later"
)
SHARD=${KLP_SHARD:-1/1}
CHOSEN=()
for ((i = ${SHARD%/*} - 1; i < ${#CASES[@]}; i += ${SHARD#*/})); do
	CHOSEN+=("${CASES[i]}")
done
ktap_plan ${#CHOSEN[@]}
load_mod fault "calls=$("$KLP_DIR/fail_nth.py" --calls)"
for entry in "${CHOSEN[@]}"; do
	read -ra words <<< "${entry#*|}"
	ktap_case "${entry%%|*}" "${words[@]}"
done
unload_mod fault
ktap_finish

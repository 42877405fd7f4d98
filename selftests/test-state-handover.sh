#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# samples/state-handover: version 1 raises net.core.rmem_max, version 2 replaces it, takes
# over what it knew, and raises net.core.wmem_max too.
#
# With a second processor a transition takes until that one's idle task has seen it: so it can be reversed.
#
# Who takes the data of one version for that of the other, or for his own when it is not, finds what the neighbour in memory
# keeps there, or what was freed: both look right by chance. With slab_debug they do not.
#
# xtask: modules=state-handover,naive-state-handover,selftests cpus=2 append=slab_debug=FZP,kmalloc-*

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/samples.sh"

V1=state_handover_v1
V2=state_handover
NAIVE=naive_state_handover
OLD=212992
NEW=4194304

require_command sysctl python3
require_file /proc/sys/net/core/rmem_max /proc/sys/net/core/wmem_max
require_ko "$V1" "$V2" "$NAIVE" test_klp_atomic_replace test_klp_successor
ktap_plan 11
save_sysctl net.core.rmem_max net.core.wmem_max

set_limits()
{
	run sysctl -q -w "net.core.rmem_max=$1" "net.core.wmem_max=$2"
}

# expect_limits RMEM_MAX WMEM_MAX: as they are, and as lines of the transcript
expect_limits()
{
	show sysctl net.core.rmem_max net.core.wmem_max
	expect_file /proc/sys/net/core/rmem_max "$1"
	expect_file /proc/sys/net/core/wmem_max "$2"
}

unload()
{
	disable_lp "$1"
	unload_mod "$1"
}

main_case()
{
	set_limits "$OLD" "$OLD"
	load_lp "$V1"
	expect_limits "$NEW" "$OLD"
	load_lp "$V2"
	expect_limits "$NEW" "$NEW"
	unload_mod "$V1"
	load_fails EINVAL "$V1"
	unload "$V2"
	expect_limits "$OLD" "$OLD"
	check_transcript state-handover "$V1" "$V2"
}

alone()
{
	set_limits "$OLD" "$OLD"
	load_lp "$V2"
	expect_limits "$NEW" "$NEW"
	unload "$V2"
	expect_limits "$OLD" "$OLD"
	expect_log "$V2" <<-'EOF'
		state_handover: pre_patch: vmlinux
		state_handover: post_patch: vmlinux: rmem_max was 212992, wmem_max was 212992
		state_handover: pre_unpatch: vmlinux: gave back
		state_handover: post_unpatch: vmlinux
	EOF
}

# Any value but the old default is somebody's choice, whether higher or lower.
chosen()
{
	local mod value

	for value in 8192 212991 212993 4194303 4194305; do
		for mod in "$V1" "$V2"; do
			set_limits "$value" "$value"
			load_lp "$mod"
			expect_limits "$value" "$value"
			unload "$mod"
			expect_limits "$value" "$value"
		done
	done
}

declared()
{
	set_limits "$OLD" "$OLD"
	load_lp "$V2"
	! has_config CONFIG_DEBUG_KMEMLEAK=y || skip "kmemleak tells of the data that the successor does not take over"
	keeps_its_state "$V2" expect_limits "$NEW" "$NEW"
}

# The module of version 1 is still there when version 2 goes.
order_of_removal()
{
	set_limits "$OLD" "$OLD"
	load_lp "$V1"
	load_lp "$V2"
	unload "$V2"
	expect_limits "$OLD" "$OLD"
	unload_mod "$V1"
	expect_limits "$OLD" "$OLD"
}

downgrade()
{
	set_limits "$OLD" "$OLD"
	load_lp "$V2"
	load_fails EINVAL "$V1"
	log_has "Livepatch patch .$V1. is not compatible" || fail "refused for another reason"
	expect_log "$V1" <<-'EOF'
	EOF
	expect_limits "$NEW" "$NEW"
	unload "$V2"
	expect_limits "$OLD" "$OLD"
	# Nothing is in force any more, so version 1 is as good as any.
	load_lp "$V1"
	expect_limits "$NEW" "$OLD"
	unload "$V1"
	expect_limits "$OLD" "$OLD"
}

# Begins version 2 and turns round before its transition has ended.
reversed_once()
{
	load_lp_nowait "$V2"
	write_file "$KLP_SYSFS/$V2/enabled" 0
	wait_for test ! -e "$KLP_SYSFS/$V2" || fail "the transition does not end"
	unload_mod "$V2"
	log_has "reversing transition from patching to unpatching"
}

reversed()
{
	local try

	for try in $(seq 20); do
		log_mark "try $try"
		set_limits "$OLD" "$OLD"
		load_lp "$V1"
		if reversed_once; then
			break
		fi
		# Too late: version 1 was replaced and version 2 disabled.
		expect_limits "$OLD" "$OLD"
		unload_mod "$V1"
	done
	log_has "reversing transition" || skip "all transitions were too quick to be reversed"
	expect_log "$V1" "$V2" <<-'EOF'
		state_handover_v1: pre_patch: vmlinux
		state_handover_v1: post_patch: vmlinux: rmem_max was 212992
		state_handover: pre_patch: vmlinux: version 1 is here
		state_handover: post_unpatch: vmlinux: the version before stays in force
	EOF
	expect_limits "$NEW" "$OLD"
	expect_file "$KLP_SYSFS/$V1/enabled" 1

	# Version 1 still knows; a second attempt gets it, too.
	load_lp "$V2"
	expect_limits "$NEW" "$NEW"
	unload_mod "$V1"
	unload "$V2"
	expect_limits "$OLD" "$OLD"
}

# Values of somebody else: set between the versions, and under version 2.
administrator()
{
	set_limits "$OLD" "$OLD"
	load_lp "$V1"
	set_limits 500000 "$OLD"
	load_lp "$V2"
	expect_limits 500000 "$NEW"
	set_limits 8000000 600000
	unload "$V2"
	unload_mod "$V1"
	expect_limits 8000000 600000
}

# buffers RCVBUF SNDBUF: what a socket gets that asks for 4 MB; the kernel doubles it
expect_buffers()
{
	local seen

	seen=$(python3 -c '
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
    s.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
    print(s.getsockopt(socket.SOL_SOCKET, option) // 2, end=" ")')
	expect_eq "buffers of a socket" "$1 $2 " "$seen"
}

sockets()
{
	set_limits "$OLD" "$OLD"
	expect_buffers "$OLD" "$OLD"
	load_lp "$V1"
	expect_buffers "$NEW" "$OLD"
	load_lp "$V2"
	expect_buffers "$NEW" "$NEW"
	unload "$V2"
	unload_mod "$V1"
	expect_buffers "$OLD" "$OLD"
}

many_times()
{
	set_limits "$OLD" 400000
	for _ in 1 2; do
		load_lp "$V1"
		load_lp "$V2"
		expect_limits "$NEW" 400000
		unload_mod "$V1"
		unload "$V2"
		expect_limits "$OLD" 400000
	done
}

# The naive version 2 saves what it finds, which is the change of version 1.
naive()
{
	! has_config CONFIG_DEBUG_KMEMLEAK=y || skip "kmemleak tells of the data that it never takes over"
	set_limits "$OLD" "$OLD"
	load_lp "$V1"
	load_lp "$NAIVE"
	expect_limits "$NEW" "$NEW"
	unload_mod "$V1"
	unload "$NAIVE"
	expect_limits "$NEW" "$OLD"
	check_transcript naive-state-handover "$V1" "$NAIVE"
}

ktap_case "upgrade, refused downgrade, way back, as in the transcript" main_case
ktap_case "version 2 without a predecessor" alone
ktap_case "version 1 is removed last" order_of_removal
ktap_case "a downgrade is refused with EINVAL while version 2 is enabled" downgrade
ktap_case "R10: a reversed upgrade leaves version 1 in force" reversed
ktap_case "values that somebody else has set are left alone" administrator
ktap_case "limits that somebody has chosen stay, lower ones, too" chosen
ktap_case "R13: a successor that does not know of the limits is refused" declared
ktap_case "sockets get the buffers" sockets
ktap_case "upgraded and removed many times" many_times
ktap_case "naive: the limit stays raised after the last patch has gone" naive
ktap_finish

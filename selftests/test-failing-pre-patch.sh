#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Sample failing-pre-patch: a livepatch, and a target, that are refused for a reason.
#
# xtask: modules=failing-pre-patch,naive-failing-pre-patch,selftests

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/samples.sh"

LP=failing_pre_patch
NAIVE=naive_failing_pre_patch
LIMIT=/proc/sys/net/core/max_skb_frags

require_ko "$LP" "$NAIVE" test_klp_atomic_replace test_klp_successor
require_module veth dummy
require_file $LIMIT
ktap_plan 7

# Each case starts from the limit that the kernel comes with.
limit_17()
{
	save_file "$LIMIT"
	run sysctl -q -w net.core.max_skb_frags=17
}

expect_patched()
{
	expect_eq "patched objects" "$1" "$(cd "$KLP_SYSFS/$LP" && grep -lx 1 ./*/patched | cut -d/ -f2 | tr '\n' ' ')"
}

lowers_and_gives_back()
{
	limit_17
	load_mod veth
	load_lp "$LP"
	expect_file "$LIMIT" 8
	expect_patched "veth vmlinux "
	disable_lp "$LP"
	expect_file "$LIMIT" 17
	unload_mod "$LP"
	expect_log "$LP" <<-'EOF'
		failing_pre_patch: pre_patch: vmlinux: limit 17 -> 8
		failing_pre_patch: pre_patch: veth
		failing_pre_patch: post_unpatch: vmlinux: limit 8 -> 17
	EOF
}

stricter_limit()
{
	limit_17
	load_mod veth
	write_file "$LIMIT" 4
	load_fails ERANGE "$LP"
	expect_file "$LIMIT" 4
	expect_log "$LP" <<-'EOF'
		failing_pre_patch: pre_patch: vmlinux: refused, the limit is 4 and stricter than 8
	EOF
	# The next correct step works.
	write_file "$LIMIT" 17
	load_lp "$LP"
	expect_file "$LIMIT" 8
}

raised_limit()
{
	limit_17
	load_mod veth
	load_lp "$LP"
	log_mark
	write_file "$LIMIT" 17
	expect_fail EBUSY modprobe dummy
	expect_file "/sys/module/$LP/refcnt" 1
	expect_file "$KLP_SYSFS/$LP/enabled" 1
	expect_patched "veth vmlinux "
	[ ! -d /sys/module/dummy ] || fail "dummy is loaded"
	expect_log "$LP" <<-'EOF'
		failing_pre_patch: pre_patch: dummy: refused, the limit is 17 and above 8
	EOF
	write_file "$LIMIT" 8
	load_mod dummy
	expect_patched "dummy veth vmlinux "
}

# Who changed the limit meanwhile keeps what he wrote.
not_ours()
{
	limit_17
	load_lp "$LP"
	write_file "$LIMIT" 5
	disable_lp "$LP"
	expect_file "$LIMIT" 5
	log_has 'post_unpatch: vmlinux: limit left at 5, not ours' || fail "nothing is said about it"
}

declared()
{
	limit_17
	load_lp "$LP"
	keeps_its_state "$LP" expect_file "$LIMIT" 8
}

transcript()
{
	local limit=net.core.max_skb_frags

	limit_17
	load_mod veth
	log_mark
	run sysctl -q -w "$limit=4"
	load_fails ERANGE "$LP"
	run sysctl -q -w "$limit=17"
	load_lp "$LP"
	show sysctl "$limit"
	run sysctl -q -w "$limit=17"
	expect_fail EBUSY modprobe dummy
	run sysctl -q -w "$limit=8"
	load_mod dummy
	disable_lp "$LP"
	show sysctl "$limit"
	unload_mod "$LP"
	check_transcript failing-pre-patch "$LP"
}

# ANCHOR: naive
naive()
{
	local limit=net.core.max_skb_frags

	limit_17
	log_mark
	run sysctl -q -w "$limit=4"
	load_fails ERANGE "$NAIVE"
	# The patch is refused, its change is not.
	show sysctl "$limit"
	expect_file "$LIMIT" 8
	# So the second try finds nothing that is wrong.
	load_lp "$NAIVE"
	disable_lp "$NAIVE"
	show sysctl "$limit"
	expect_file "$LIMIT" 8
	unload_mod "$NAIVE"
	check_transcript naive-failing-pre-patch "$NAIVE"
}
# ANCHOR_END: naive

ktap_case "the limit is lowered and given back" lowers_and_gives_back
ktap_case "R7: a limit that is stricter than the fix refuses the livepatch with ERANGE" stricter_limit
ktap_case "R8: a raised limit refuses a target with EBUSY, the livepatch stays" raised_limit
ktap_case "a limit that somebody else changed is left alone" not_ours
ktap_case "R13: a successor that does not know of the limit is refused" declared
ktap_case "the story that the book shows" transcript
ktap_case "naive: a refused livepatch leaves its change behind" naive
ktap_finish

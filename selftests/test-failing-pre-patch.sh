#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Sample failing-pre-patch: a livepatch, and a target, that are refused for a reason.
#
# xtask: modules=failing-pre-patch,naive-failing-pre-patch

. "$(dirname "$0")/functions.sh"

LP=failing_pre_patch
NAIVE=naive_failing_pre_patch
LIMIT=/proc/sys/net/core/max_skb_frags

require_ko "$LP" "$NAIVE"
require_module veth dummy
require_file $LIMIT
ktap_plan 13

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
		failing_pre_patch: post_patch: vmlinux
		failing_pre_patch: post_patch: veth
		failing_pre_patch: pre_unpatch: vmlinux
		failing_pre_patch: pre_unpatch: veth
		failing_pre_patch: post_unpatch: vmlinux: limit 8 -> 17
		failing_pre_patch: post_unpatch: veth
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

# Every errno that the user asks for is the one that insmod gives.
forced_at_load()
{
	local nr name

	limit_17
	while read -r nr name; do
		load_fails "$name" "$LP" "vmlinux_errno=$nr"
		expect_file "$LIMIT" 17
		log_has "pre_patch: vmlinux: refused with errno $nr on demand" || fail "not refused by errno $nr"
	done <<-'EOF'
		1 EPERM
		12 ENOMEM
		16 EBUSY
		19 ENODEV
		95 EOPNOTSUPP
		110 ETIMEDOUT
	EOF
	# The loader keeps this one for "is already loaded".
	load_fails EBUSY "$LP" vmlinux_errno=17
	expect_no_log "$LP: (post_patch|pre_unpatch|post_unpatch)"
	load_lp "$LP"
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

forced_by_sysfs()
{
	limit_17
	load_mod veth
	load_lp "$LP"
	log_mark
	set_param "$LP" dummy_errno 19
	expect_fail ENODEV modprobe dummy
	set_param "$LP" dummy_errno 95
	expect_fail EOPNOTSUPP modprobe dummy
	expect_patched "veth vmlinux "
	# The others come and go as before.
	unload_mod veth
	load_mod veth
	expect_patched "veth vmlinux "
	set_param "$LP" dummy_errno 0
	load_mod dummy
	expect_patched "dummy veth vmlinux "
	expect_log "$LP" <<-'EOF'
		failing_pre_patch: pre_patch: dummy: refused with errno 19 on demand
		failing_pre_patch: pre_patch: dummy: refused with errno 95 on demand
		failing_pre_patch: pre_unpatch: veth
		failing_pre_patch: post_unpatch: veth
		failing_pre_patch: pre_patch: veth
		failing_pre_patch: post_patch: veth
		failing_pre_patch: pre_patch: dummy
		failing_pre_patch: post_patch: dummy
	EOF
}

# refuse OBJECT: of three loaded objects this one fails
refused_with()
{
	limit_17
	load_mod veth
	load_mod dummy
	load_fails ENODEV "$LP" "$1_errno=19"
	expect_file "$LIMIT" 17
}

middle_fails()
{
	refused_with veth
	expect_log "$LP" <<-'EOF'
		failing_pre_patch: pre_patch: vmlinux: limit 17 -> 8
		failing_pre_patch: pre_patch: veth: refused with errno 19 on demand
		failing_pre_patch: post_unpatch: vmlinux: limit 8 -> 17
	EOF
}

last_fails()
{
	refused_with dummy
	expect_log "$LP" <<-'EOF'
		failing_pre_patch: pre_patch: vmlinux: limit 17 -> 8
		failing_pre_patch: pre_patch: veth
		failing_pre_patch: pre_patch: dummy: refused with errno 19 on demand
		failing_pre_patch: post_unpatch: vmlinux: limit 8 -> 17
		failing_pre_patch: post_unpatch: veth
	EOF
}

# A refusal that was asked for does not stay behind: the next load starts anew.
refused_then_accepted()
{
	refused_with veth
	load_lp "$LP"
	expect_patched "dummy veth vmlinux "
	set_param "$LP" veth_errno 16
	# Asked when a target comes, not before.
	expect_patched "dummy veth vmlinux "
	disable_lp "$LP"
	expect_file "$LIMIT" 17
}

bad_at_load()
{
	local param value

	limit_17
	for value in 4096 -1 -4096 EBUSY ""; do
		load_fails EINVAL "$LP" "vmlinux_errno=$value"
	done
	for param in veth_errno dummy_errno; do
		load_fails EINVAL "$LP" "$param=4096"
	done
	load_fails ERANGE "$LP" vmlinux_errno=4294967296
	expect_no_log "$LP: (pre|post)_"
	expect_file "$LIMIT" 17
	load_fails EPERM "$LP" no_such_parameter=1 vmlinux_errno=1
	log_has "unknown parameter 'no_such_parameter' ignored" || fail "no word of the unknown parameter"
}

bad_by_sysfs()
{
	local param value file

	limit_17
	load_lp "$LP"
	for param in vmlinux_errno veth_errno dummy_errno; do
		file=/sys/module/$LP/parameters/$param
		set_param "$LP" "$param" 4095
		for value in 4096 -1 -4096 EBUSY ""; do
			expect_fail EINVAL write_file "$file" "$value"
			expect_file "$file" 4095
		done
		expect_fail ERANGE write_file "$file" 4294967296
		set_param "$LP" "$param" 0
		expect_file "$file" 0
	done
	load_mod dummy
	expect_patched "dummy vmlinux "
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

transcript()
{
	local limit=net.core.max_skb_frags

	limit_17
	load_mod veth
	log_mark
	run sysctl -q -w "$limit=4"
	load_fails ERANGE "$LP"
	run sysctl -q -w "$limit=17"
	load_fails ENODEV "$LP" veth_errno=19
	show sysctl "$limit"
	load_lp "$LP"
	show sysctl "$limit"
	set_param "$LP" dummy_errno 95
	expect_fail EOPNOTSUPP modprobe dummy
	set_param "$LP" dummy_errno 0
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
ktap_case "R7: insmod of the livepatch gives the errno that was asked for" forced_at_load
ktap_case "R8: a raised limit refuses a target with EBUSY, the livepatch stays" raised_limit
ktap_case "R8: insmod of a target gives the errno written to sysfs, the livepatch stays" forced_by_sysfs
ktap_case "R11: the middle of three objects fails, the first gets post_unpatch alone" middle_fails
ktap_case "R11: the last of three objects fails, the others get post_unpatch alone" last_fails
ktap_case "a refused livepatch can be loaded afterwards" refused_then_accepted
ktap_case "an errno out of range is refused at load" bad_at_load
ktap_case "an errno out of range is refused by sysfs" bad_by_sysfs
ktap_case "a limit that somebody else changed is left alone" not_ours
ktap_case "the story that the book shows" transcript
ktap_case "naive: a refused livepatch leaves its change behind" naive
ktap_finish

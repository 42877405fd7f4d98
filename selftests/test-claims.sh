#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Sentences of the book that are no rule of the kernel's page: what a reader would believe otherwise, and what is true.
#
# xtask: modules=selftests

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/rules.sh"

rules_needs rules_all rules_next rules_other rules_target
ktap_plan 7

# ANCHOR: reversal
# Who has moved already, and sleeps in the new function, holds the way back up.
reversal_waits()
{
	local old

	load_mod rules_target
	park
	old=$PARKED
	load_lp_nowait rules_all
	expect_stalled rules_all
	# A second reader, who comes by the new function.
	wait_for file_is "/proc/$BASHPID/patch_state" 1
	park
	log_mark
	write_file "$KLP_SYSFS/rules_all/enabled" 0
	expect_stalled rules_all
	expect_file "/proc/$old/patch_state" 0
	expect_file "/proc/$PARKED/patch_state" 1
	unpark
	wait_for test ! -e "$KLP_SYSFS/rules_all" || fail "the way back does not end"
	wait "$old"
	expect_no_log 'pre_unpatch'
}
# ANCHOR_END: reversal

# ANCHOR: failed-load
# A parameter is wrong: the target was patched already, and is unpatched again, without its init or exit.
load_fails_later()
{
	load_lp rules_all
	log_mark
	load_fails EINVAL rules_target open=perhaps
	expect_log rules_all rules_target <<-'EOF'
		rules_all: pre_patch: rules_target: Coming
		rules_all: post_patch: rules_target: Coming
		~ rules_target: .open.: .*|rules_target: `perhaps' invalid for parameter `open'
		rules_all: pre_unpatch: rules_target: Going
		rules_all: post_unpatch: rules_target: Going
		rules_all: freed: rules_target
	EOF
}
# ANCHOR_END: failed-load

# ANCHOR: replace-target
# While rules_next replaces rules_all, a target that comes and goes still has the callbacks of rules_all.
replaced_still_serves()
{
	load_mod rules_target
	load_lp rules_all
	park
	load_lp_nowait rules_next
	expect_stalled rules_next
	log_mark
	load_mod rules_other
	unload_mod rules_other
	expect_log rules_all rules_next rules_other <<-'EOF'
		rules_all: pre_patch: rules_other: Coming
		rules_all: post_patch: rules_other: Coming
		rules_other: init
		rules_other: exit
		rules_all: pre_unpatch: rules_other: Going
		rules_all: post_unpatch: rules_other: Going
	EOF
	unpark
	wait_transition rules_next
}
# ANCHOR_END: replace-target

# ANCHOR: late-post-patch
# A target that comes during patching: its post_patch runs at the end of the transition, after its init, by a kworker.
late_post_patch()
{
	load_mod rules_target
	park
	load_lp_nowait rules_all
	expect_stalled rules_all
	log_mark
	load_mod rules_other
	unpark
	wait_transition rules_all
	expect_log rules_all rules_other <<-'EOF'
		rules_all: pre_patch: rules_other: Coming
		rules_other: init
		rules_all: post_patch: vmlinux
		rules_all: post_patch: rules_target: Live
		rules_all: post_patch: rules_other: Live
	EOF
	disable_lp rules_all
}
# ANCHOR_END: late-post-patch

# ANCHOR: ftrace-off
# EBUSY is not always another transition: ftrace is switched off.
ftrace_off()
{
	save_sysctl kernel.ftrace_enabled
	run sysctl -q -w kernel.ftrace_enabled=0
	load_mod rules_target
	load_fails EBUSY rules_all
	log_has "livepatch: failed to register ftrace handler for function 'rules_target_enter' \(-16\)" ||
		fail "the log does not name the function"
}
# ANCHOR_END: ftrace-off

# ANCHOR: ia32
# With IA32 emulation a system call has an entry for each of the two.
two_entries()
{
	require_config CONFIG_IA32_EMULATION
	local name

	for name in getpid openat; do
		grep -qw "__x64_sys_$name" /proc/kallsyms || fail "no __x64_sys_$name"
		grep -qw "__ia32_sys_$name\|__ia32_compat_sys_$name" /proc/kallsyms || fail "no second entry of $name"
	done
}
# ANCHOR_END: ia32

# ANCHOR: eexist
# A target that pre_patch refuses by EEXIST is not there, and modprobe calls that a success.
eexist_is_success()
{
	load_lp rules_all
	set_param rules_all fail rules_target
	set_param rules_all errno 17
	run modprobe "$(find_ko rules_target)"
	[ ! -d /sys/module/rules_target ] || fail "rules_target is loaded"
	set_param rules_all errno 16
	expect_fail EBUSY modprobe "$(find_ko rules_target)"
}
# ANCHOR_END: eexist

ktap_case "a reversal waits for whoever sleeps in the new function" reversal_waits
ktap_case "a target whose load fails after its pre_patch gets its unpatch callbacks, and no exit" load_fails_later
ktap_case "a replaced livepatch serves targets until the transition ends" replaced_still_serves
ktap_case "post_patch of a target that comes during patching runs after its init" late_post_patch
ktap_case "EBUSY: ftrace is switched off" ftrace_off
ktap_case "a system call has a second entry for 32-bit programs" two_entries
ktap_case "EEXIST of a refused target is a success to modprobe" eexist_is_success
ktap_finish

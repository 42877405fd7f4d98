#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# What a user may do wrong with any livepatch: the kernel says so, and the next correct step works.
#
# xtask: modules=selftests

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/rules.sh"

rules_needs rules_all rules_next rules_other rules_target rules_subset_4
ktap_plan 12

expect_works()
{
	expect_file "$ANSWER" 11
	expect_file "$KLP_SYSFS/rules_all/enabled" 1
	disable_lp rules_all
	unload_mod rules_all
	expect_file "$ANSWER" 0
}

twice()
{
	load_mod rules_target
	load_lp rules_all
	expect_fail EEXIST insmod "$(find_ko rules_all)"
	expect_fail EEXIST insmod "$(find_ko rules_target)"
	expect_works
}

rmmod_enabled()
{
	load_mod rules_target
	load_lp rules_all
	expect_in_use rules_all
	expect_works
}

disabled_twice()
{
	local enabled=$KLP_SYSFS/rules_all/enabled

	load_mod rules_target
	load_lp rules_all
	park
	write_file "$enabled" 0
	expect_fail EINVAL write_file "$enabled" 0
	unpark
	wait_for test ! -e "$enabled"
	expect_fail ENOENT cat "$enabled"
	unload_mod rules_all
}

enabled_twice()
{
	load_mod rules_target
	load_lp rules_all
	expect_fail EINVAL write_file "$KLP_SYSFS/rules_all/enabled" 1
	expect_works
}

# A disabled patch has no file to enable it by; one that was opened before is dead, and loading it again is refused while
# the old one is there.
enabled_again()
{
	load_mod rules_target
	load_lp rules_all
	exec 7> "$KLP_SYSFS/rules_all/enabled"
	disable_lp rules_all
	# shellcheck disable=SC2016 # the inner shell writes
	expect_fail ENODEV bash -c 'echo 1 >&7'
	exec 7>&-
	expect_fail EEXIST insmod "$(find_ko rules_all)"
	unload_mod rules_all
	load_lp rules_all
	expect_works
}

nonsense()
{
	local file

	load_mod rules_target
	load_lp rules_all
	# Not just any word: "nonsense" begins as "no" does, and is taken for it.
	for file in enabled force; do
		expect_fail EINVAL write_file "$KLP_SYSFS/rules_all/$file" garbage
	done
	expect_fail EINVAL write_file "$KLP_SYSFS/rules_all/enabled" 2
	# No transition runs, so there is nothing to force.
	expect_fail EINVAL write_file "$KLP_SYSFS/rules_all/force" 1
	write_file "$KLP_SYSFS/rules_all/force" 0
	expect_works
}

other_transition_disable()
{
	load_mod rules_target
	load_lp rules_subset_4
	park
	load_lp_nowait rules_all
	expect_fail EBUSY write_file "$KLP_SYSFS/rules_subset_4/enabled" 0
	expect_file "$KLP_SYSFS/rules_subset_4/enabled" 1
	unpark
	wait_transition rules_all
	disable_lp rules_subset_4
	unload_mod rules_subset_4
	expect_works
}

other_transition_load()
{
	load_mod rules_target
	park
	load_lp_nowait rules_all
	load_fails EBUSY rules_subset_4
	load_fails EBUSY rules_next
	expect_fail EINVAL write_file "$KLP_SYSFS/rules_all/enabled" 1
	expect_in_use rules_all
	unpark
	wait_transition rules_all
	load_lp rules_subset_4
	disable_lp rules_subset_4
	expect_works
}

# Decides on what comes next, never on what has been done.
parameter_in_transition()
{
	load_mod rules_target
	park
	load_lp_nowait rules_all
	set_param rules_all fail vmlinux
	set_param rules_all fail rules_other
	set_param rules_all errno 16
	expect_fail EINVAL write_file /sys/module/rules_all/parameters/fail rules_nothing
	expect_file /sys/module/rules_all/parameters/fail rules_other
	expect_fail EBUSY insmod "$(find_ko rules_other)"
	set_param rules_all errno 95
	expect_fail EOPNOTSUPP insmod "$(find_ko rules_other)"
	set_param rules_all fail none
	load_mod rules_other
	unpark
	wait_transition rules_all
	expect_patched rules_all vmlinux=1 rules_target=1 rules_other=1
	expect_works
}

bad_parameters()
{
	local value

	for value in nonsense "" VMLINUX 1; do
		load_fails EINVAL rules_all "fail=$value"
	done
	for value in 0 4096 -1 x ""; do
		load_fails EINVAL rules_all "errno=$value"
	done
	load_fails ERANGE rules_all errno=99999999999
	expect_no_log '^rules_all: (init|pre_patch)'
	load_mod rules_target
	load_lp rules_all
	for value in nonsense "" VMLINUX 1; do
		expect_fail EINVAL write_file /sys/module/rules_all/parameters/fail "$value"
	done
	for value in 0 4096 -1 x ""; do
		expect_fail EINVAL write_file /sys/module/rules_all/parameters/errno "$value"
	done
	expect_file /sys/module/rules_all/parameters/fail none
	expect_file /sys/module/rules_all/parameters/errno 19
	expect_works
}

# Somebody sleeps in the replacement: rmmod of the target waits for him, and that of the livepatch is refused.
rmmod_in_transition()
{
	load_mod rules_target
	load_lp rules_all
	park
	write_file "$KLP_SYSFS/rules_all/enabled" 0
	expect_stalled rules_all
	expect_in_use rules_all
	unpark
	wait_for test ! -e "$KLP_SYSFS/rules_all"
	unload_mod rules_all
	unload_mod rules_target
}

replaced_is_gone()
{
	load_mod rules_target
	load_lp rules_all
	load_lp rules_next
	wait_for test ! -e "$KLP_SYSFS/rules_all"
	wait_for file_is /sys/module/rules_all/refcnt 0
	expect_fail EEXIST insmod "$(find_ko rules_all)"
	unload_mod rules_all
	disable_lp rules_next
	load_lp rules_all
	expect_works
}

ktap_case "loading a livepatch or a target twice is refused with EEXIST" twice
ktap_case "rmmod of an enabled livepatch is refused" rmmod_enabled
ktap_case "disabling twice is refused with EINVAL" disabled_twice
ktap_case "enabling twice is refused with EINVAL" enabled_twice
ktap_case "a disabled livepatch cannot be enabled again, only loaded anew" enabled_again
ktap_case "nonsense in the livepatch's files is refused with EINVAL" nonsense
ktap_case "disabling while another livepatch is in transition is refused with EBUSY" other_transition_disable
ktap_case "loading while another livepatch is in transition is refused with EBUSY" other_transition_load
ktap_case "a parameter rewritten during a transition decides on what comes next" parameter_in_transition
ktap_case "a parameter of the wrong value is refused with EINVAL" bad_parameters
ktap_case "rmmod of a livepatch that is being disabled is refused" rmmod_in_transition
ktap_case "a replaced livepatch must be removed before it is loaded again" replaced_is_gone
ktap_finish

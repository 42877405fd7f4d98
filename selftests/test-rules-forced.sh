#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The rules of livepatch callbacks, forced transitions: the kernel keeps what was forced out of use for ever, so each
# case here uses a livepatch of its own or comes last.
#
# xtask: modules=selftests

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/rules.sh"

rules_needs rules_all rules_next rules_target rules_subset_0
ktap_plan 3

force()
{
	write_file "$KLP_SYSFS/$1/force" 1
}

# Forced into the patch: the parked task goes on in the old function, and nothing stays behind.
r14_forced_patching()
{
	uid_65534
	load_mod rules_target
	park
	load_lp_nowait rules_all
	expect_stalled rules_all
	log_mark
	force rules_all
	wait_transition rules_all
	expect_log rules_all livepatch <<-'EOF'
		livepatch: forcing remaining tasks to the patched state
		livepatch: 'rules_all': completing patching transition
		rules_all: post_patch: vmlinux
		rules_all: post_patch: rules_target: Live
		livepatch: 'rules_all': patching complete
	EOF
	unpark
	expect_eq "answer of the parked task" 0 "$ANSWERED"
	expect_file "$ANSWER" 11
	expect_file "$UID_FILE" 60001
	disable_lp rules_all
	expect_file "$ANSWER" 0
	expect_file "$UID_FILE" 65534
	unload_mod rules_all
	unload_mod rules_target
}

# ANCHOR: r14-forced
# Forced out of the patch while a task sleeps in its function: callbacks run, the state goes, the text stays.
r14_forced_unpatching()
{
	uid_65534
	# They must not go under the task that sleeps in them, and the livepatch never will.
	load_mod rules_target
	load_lp rules_all
	park
	log_mark
	write_file "$KLP_SYSFS/rules_all/enabled" 0
	expect_stalled rules_all
	may_stay rules_all
	force rules_all
	wait_for test ! -e "$KLP_SYSFS/rules_all" || fail "it does not get disabled"
	expect_log rules_all livepatch <<-'EOF'
		livepatch: 'rules_all': initializing unpatching transition
		rules_all: pre_unpatch: vmlinux
		rules_all: pre_unpatch: rules_target: Live
		livepatch: 'rules_all': starting unpatching transition
		livepatch: forcing remaining tasks to the patched state
		livepatch: 'rules_all': completing unpatching transition
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
		rules_all: post_unpatch: rules_target: Live
		rules_all: freed: rules_target
		livepatch: 'rules_all': unpatching complete
	EOF
	expect_file "$UID_FILE" 65534
	asleep "$PARKED" || fail "the parked task is not there any more"
	# It wakes up in the function of a patch that is gone, and finds no state, instead of a stale one.
	unpark
	expect_eq "answer of the parked task" 19 "$ANSWERED"
	expect_file "$ANSWER" 0
	expect_in_use rules_all
	expect_file /sys/module/rules_all/refcnt 1
	# The target is free, and other livepatches are, too.
	load_lp rules_subset_0
	disable_lp rules_subset_0
	unload_mod rules_target
	load_mod rules_target
	expect_file "$ANSWER" 0
	expect_no_log '^rules_all: exit'
}
# ANCHOR_END: r14-forced

# ANCHOR: r14-forced-replace
# A replaced patch whose function somebody still sleeps in: pinned with its state, and nothing is reverted. The forced
# rules_all of the case before is in the way of loading it again, hence another patch is replaced here.
r14_forced_replace()
{
	load_mod rules_target
	load_lp rules_subset_0
	park
	load_lp_nowait rules_next
	expect_stalled rules_next
	may_stay rules_subset_0
	force rules_next
	wait_transition rules_next
	wait_for test ! -e "$KLP_SYSFS/rules_subset_0" || fail "it was not replaced"
	unpark
	expect_eq "answer of the parked task" 0 "$ANSWERED"
	expect_file "$ANSWER" 22
	expect_in_use rules_subset_0
	disable_lp rules_next
	unload_mod rules_next
	expect_file "$ANSWER" 0
}
# ANCHOR_END: r14-forced-replace

ktap_case "R14: a forced patching transition ends with everything patched" r14_forced_patching
ktap_case "R14: a forced unpatching takes the state away safely and pins the module" r14_forced_unpatching
ktap_case "R14: a forced replacement pins the old patch" r14_forced_replace
ktap_finish

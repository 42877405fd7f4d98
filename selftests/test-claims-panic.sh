#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# A panic in a callback leaves klp_mutex held: nobody loads, removes or disables anything any more. So this script ends
# the kernel, and xtask takes that for success: `panic=` below. It compares what the kernel said until then.
#
# On a kernel that is somebody's, `make run_tests` for example, it does nothing.
#
# xtask: modules=claims,selftests panic=panicked

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/lock_order.sh"

if [ "${KLP_GUEST:-}" != 1 ]; then
	skip "kills the kernel: for the virtual machine of cargo xtask test only"
fi
require_file /proc/sysrq-trigger /proc/self/stack
require_ko claims_panic rules_other rules_subset_0 rules_target
ktap_plan 1

# ANCHOR: panics
panics()
{
	local rc=0 loader writer remover

	# Most kernels go on after an oops; that of the tests was told not to.
	echo 0 > /proc/sys/kernel/panic_on_oops
	load_mod rules_target
	load_lp rules_subset_0
	run insmod "$(find_ko claims_panic)" || rc=$?
	[ "$rc" -ge 128 ] || fail "insmod was not killed: $rc"
	begin_to insmod "$(find_ko rules_other)"
	loader=$BEGUN
	begin_to rmmod rules_target
	remover=$BEGUN
	begin_to klp__to_file "$KLP_SYSFS/rules_subset_0/enabled" 0
	writer=$BEGUN
	wait_for stack_has "$loader" klp_module_coming
	wait_for stack_has "$remover" klp_module_going
	wait_for stack_has "$writer" enabled_store
	# Whoever would go on has the time to.
	sleep 20
	show echo "insmod waits: $(frames "$loader" klp_module_coming load_module)"
	show echo "rmmod waits: $(frames "$remover" klp_module_going)"
	show echo "the shell waits: $(frames "$writer" enabled_store kernfs_fop_write_iter)"
	sync
	echo c > /proc/sysrq-trigger
	fail "the kernel lives"
}
# ANCHOR_END: panics

ktap_case "a panic in a callback keeps klp_mutex" panics
ktap_finish

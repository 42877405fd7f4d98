#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# A callback that waits for all work of the system's workqueue waits for itself, where the transition ended later: its
# kworker runs the callback. klp_mutex is held for ever then. So this script ends the kernel, and xtask takes that for
# success: `panic=` below. It compares what the kernel said until then.
#
# On a kernel that is somebody's, `make run_tests` for example, it does nothing.
#
# xtask: modules=claims,selftests panic=sysrq

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/rules.sh"
. "$KLP_DIR/lock_order.sh"

if [ "${KLP_GUEST:-}" != 1 ]; then
	skip "locks the machine up: for the virtual machine of cargo xtask test only"
fi
require_file /proc/sysrq-trigger /proc/self/stack
require_ko claims_flush rules_other rules_target
ktap_plan 1

# The worker that runs the callback.
flusher()
{
	local stack

	for stack in /proc/[0-9]*/stack; do
		if stack_has "${stack//[!0-9]/}" __flush_workqueue; then
			REPLY=${stack//[!0-9]/}
			return 0
		fi
	done
	return 1
}

# ANCHOR: flush
flushes()
{
	local worker

	load_mod rules_target
	# Nothing holds this transition up: the loader waits for the workqueue, and has no work on it.
	load_lp claims_flush
	log_has 'no work is left' || fail "the loader waits"
	disable_lp claims_flush
	unload_mod claims_flush
	log_mark
	park
	load_lp_nowait claims_flush
	unpark
	wait_for flusher || fail "no kworker waits"
	worker=$REPLY
	begin_to insmod "$(find_ko rules_other)"
	wait_for stack_has "$BEGUN" klp_module_coming
	# Whoever would go on has the time to.
	sleep 20
	expect_no_log 'no work is left'
	show echo "kworker waits: $(frames "$worker" __flush_workqueue klp_transition_work_fn)"
	show echo "insmod waits: $(frames "$BEGUN" klp_module_coming load_module)"
	sync
	echo c > /proc/sysrq-trigger
	fail "the kernel lives"
}
# ANCHOR_END: flush

ktap_case "a callback that waits for the system's workqueue waits for ever" flushes
ktap_finish

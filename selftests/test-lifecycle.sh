#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The machine of the callbacks, walked on the running kernel by scripts/lifecycle: every edge, then a walk at random.
# KLP_STEPS and KLP_SEED choose another one. In the environment of `cargo xtask test` both are passed on.
#
# xtask: modules=lifecycle package=lifecycle

. "$(dirname "$0")/functions.sh"

require_command lifecycle
require_ko lifecycle_alpha lifecycle_beta lifecycle_cumulative lifecycle_plain
ktap_plan 2

# Tens of thousands of lines of the core's: a console takes longer for one than the walk for a step.
quiet_console()
{
	local ignore=/sys/module/printk/parameters/ignore_loglevel

	save_file "$ignore"
	save_sysctl kernel.printk
	echo N > "$ignore"
	echo 5 > /proc/sys/kernel/printk
}

tour()
{
	quiet_console
	KLP_MODULES_DIR=${KLP_MODULES_DIR:-$KLP_DIR/modules/lifecycle} lifecycle tour
}

random()
{
	quiet_console
	KLP_MODULES_DIR=${KLP_MODULES_DIR:-$KLP_DIR/modules/lifecycle} \
		lifecycle random "${KLP_STEPS:-500}" "${KLP_SEED:-$RANDOM}"
}

ktap_case "every edge of the machine is the kernel's" tour
ktap_case "and so is a walk at random" random
ktap_finish

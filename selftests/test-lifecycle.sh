#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The machine of the callbacks, walked on the running kernel by scripts/lifecycle: every edge, with livepatches in Rust and
# with the same in C, which nothing may tell apart; then a walk at random. KLP_STEPS and KLP_SEED choose another one, also in
# the environment of `cargo xtask test`:
#
#     KLP_CASES='*at random' KLP_STEPS=10000 KLP_SEED=1 cargo xtask test lifecycle
#
# xtask: modules=lifecycle,c-twins package=lifecycle

. "$(dirname "$0")/functions.sh"

require_command lifecycle
require_ko lifecycle_alpha lifecycle_beta lifecycle_cumulative lifecycle_plain ctwin_lifecycle_{cumulative,plain}
ktap_plan 3

# Tens of thousands of lines of the core's: a console takes longer for one than the walk for a step.
quiet_console()
{
	local ignore=/sys/module/printk/parameters/ignore_loglevel

	save_file "$ignore"
	save_sysctl kernel.printk
	echo N > "$ignore"
	echo 5 > /proc/sys/kernel/printk
}

walk()
{
	quiet_console
	KLP_MODULES_DIR=${KLP_MODULES_DIR:-$KLP_DIR/modules/lifecycle} lifecycle "$@"
}

# What the tour sees is what the map in the book shows.
tour()
{
	walk tour "$KLP_DIR/expected/lifecycle.json"
	if [ "${KLP_UPDATE_EXPECTED:-}" = 1 ]; then
		skip "expected/lifecycle.json written, not compared"
	fi
}

tour_in_c()
{
	[ "${KLP_UPDATE_EXPECTED:-}" != 1 ] || skip "expected/lifecycle.json is of the livepatches in Rust"
	walk tour "$KLP_DIR/expected/lifecycle.json" ctwin_
}

random()
{
	walk random "${KLP_STEPS:-500}" "${KLP_SEED:-$RANDOM}"
}

ktap_case "every edge of the machine is the kernel's" tour
ktap_case "the same edges with livepatches in C" tour_in_c
ktap_case "and so is a walk at random" random
ktap_finish

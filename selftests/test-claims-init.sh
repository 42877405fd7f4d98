#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# A function of __init can be patched while its module comes: the symbol is there, and ftrace reaches it. Then its memory is
# given back, and ftrace forgets the place. When the module goes, the core finds no place to take the patch from, warns, and
# keeps what points into the module in its lists. So this script ends the kernel at the warning, and xtask takes that for
# success: `panic=` below. It compares what the kernel said until then.
#
# On a kernel that is somebody's, `make run_tests` for example, it does nothing.
#
# xtask: modules=claims panic=__klp_unpatch_object

. "$(dirname "$0")/functions.sh"

if [ "${KLP_GUEST:-}" != 1 ]; then
	skip "kills the kernel: for the virtual machine of cargo xtask test only"
fi
require_ko claims_{named,target}
ktap_plan 1

# ANCHOR: init-patched
init_patched()
{
	# Of two functions of one name this is the one of __init.
	load_lp claims_named position=1
	load_mod claims_target
	log_has '^claims_target: init: twin 42$' || fail "it is not patched"
	sync
	echo 1 > /proc/sys/kernel/panic_on_warn
	run rmmod claims_target
	fail "the kernel lives"
}
# ANCHOR_END: init-patched

ktap_case "a function of __init that was patched cannot be unpatched" init_patched
ktap_finish

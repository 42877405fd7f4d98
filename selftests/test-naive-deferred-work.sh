#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The naive version of samples/deferred-work kills the kernel soon after rmmod. So this
# script never comes to its end, and xtask takes that for success: `panic=` below. It
# compares what the kernel said until then, as `check_transcript naive-deferred-work` would.
#
# On a kernel that is somebody's, `make run_tests` for example, it does nothing.
#
# xtask: modules=naive-deferred-work panic=Oops: cpus=2

. "$(dirname "$0")/functions.sh"

LP=naive_deferred_work

if [ "${KLP_GUEST:-}" != 1 ]; then
	skip "kills the kernel: for the virtual machine of cargo xtask test only"
fi
require_command awk
require_file /proc/softirqs
require_ko "$LP"
require_module virtio_net
ktap_plan 1
# Any module at all: without one the kernel soon unmaps what the text was in, and dies of
# that instead (mm/execmem.c).
modprobe virtio_net

last_column()
{
	echo "last column of /proc/softirqs: $(awk 'NR == 1 { print $NF }' /proc/softirqs)"
}

naive()
{
	show last_column
	load_lp "$LP"
	show last_column
	disable_lp "$LP"
	show last_column
	unload_mod "$LP"
	sleep 30
	fail "the kernel lives: nothing ran after rmmod"
}

ktap_case "naive: the kernel dies after rmmod" naive
ktap_finish

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# What lockdep says of the naive version of samples/netdev-features that waits for RTNL in a callback, once it was taught
# by test_klp_lock_order: the two ways are gone one after the other, so nothing locks up. lockdep is off from then on, so
# this script ends the kernel, and xtask takes that for success: `panic=` below.
#
# xtask: modules=naive-netdev-features,selftests nics=1 panic=circular

. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/lock_order.sh"

LP=naive_netdev_features_lock

if [ "${KLP_GUEST:-}" != 1 ]; then
	skip "ends the kernel: for the virtual machine of cargo xtask test only"
fi
require_config CONFIG_PROVE_LOCKING=y
under_rtnl_needs
require_file /proc/sysrq-trigger
require_module virtio_net
require_ko test_klp_lock_order "$LP"
ktap_plan 1
modprobe virtio_net

naive()
{
	load_mod test_klp_lock_order
	hold_rtnl
	loaded_under_rtnl
	expect_no_log "possible circular locking"
	load_lp "$LP"
	log_has "possible circular locking dependency detected" || fail "lockdep says nothing"
	log_has "klp_mutex" || fail "lockdep speaks of something else"
	log_has "rtnl_mutex" || fail "lockdep speaks of something else"
	sync
	echo c > /proc/sysrq-trigger
	fail "the kernel lives"
}

ktap_case "naive: lockdep tells of the deadlock without any" naive
ktap_finish

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The naive version of samples/netdev-features that waits for RTNL in a callback locks the machine up: it holds
# klp_mutex and waits for RTNL, somebody holds RTNL and waits for modprobe, and modprobe waits for klp_mutex. The three
# can only be looked at. So this script ends the kernel, and xtask takes that for success: `panic=` below. It compares
# what the kernel said until then.
#
# On a kernel that is somebody's, `make run_tests` for example, it does nothing.
#
# xtask: modules=naive-netdev-features,selftests nics=1 panic=sysrq

. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/lock_order.sh"

LP=naive_netdev_features_lock

if [ "${KLP_GUEST:-}" != 1 ]; then
	skip "locks the machine up: for the virtual machine of cargo xtask test only"
fi
under_rtnl_needs
require_file /proc/sysrq-trigger
require_module virtio_net
require_ko "$LP"
ktap_plan 1
modprobe virtio_net

# waits_in WHO PID FUNCTION…: they are still there, and where
waits_in()
{
	show echo "$1 waits: $(frames "${@:2}")"
}

naive()
{
	hold_rtnl
	begin_to insmod "$(find_ko "$LP")"
	wait_for stack_has "$BEGUN" register_netdevice_notifier || fail "$LP does not wait for RTNL"
	load_under_rtnl
	wait_for stack_has "$MODPROBE" klp_module_coming || fail "the module does not wait for klp_mutex"
	# Anybody else who would go on has the time to.
	sleep 20
	waits_in ip "$ROUTE" call_usermodehelper_exec __request_module rtnetlink_rcv_msg
	waits_in insmod "$BEGUN" register_netdevice_notifier klp_enable_patch
	waits_in modprobe "$MODPROBE" klp_module_coming load_module
	stack_has "$ROUTE" __request_module || fail "ip went on"
	stack_has "$BEGUN" register_netdevice_notifier || fail "insmod went on"
	stack_has "$MODPROBE" klp_module_coming || fail "modprobe went on"
	# No livepatch can be disabled and no address changed any more: only this is left.
	sync
	echo c > /proc/sysrq-trigger
	fail "the kernel lives"
}

ktap_case "naive: three tasks wait for each other" naive
ktap_finish

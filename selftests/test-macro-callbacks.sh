#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# What kpatch's integration test `macro-callbacks` looks at, with its lines: callbacks of the kernel and of two drivers that
# are there before the livepatch, come after it, or are refused by a pre-patch callback. Its drivers are joydev and pcspkr,
# which not every kernel has.
#
# xtask: modules=selftests

. "$(dirname "$0")/functions.sh"

MOD=test_klp_macro_callbacks
LIVE='[MODULE_STATE_LIVE] Normal state'
COMING='[MODULE_STATE_COMING] Full formed, running module_init'
GOING='[MODULE_STATE_GOING] Going away'

require_module dummy veth
require_ko "$MOD"
ktap_plan 5

# A console or a desktop may have loaded them.
without_drivers()
{
	local name

	for name in dummy veth; do
		[ ! -d "/sys/module/$name" ] || unload_mod "$name"
	done
}

# expect_callbacks TEXT: what the livepatch has logged, without its name
expect_callbacks()
{
	local line text=''

	while read -r line; do
		text+="$MOD: ${line/_callback/_callback:}"$'\n'
	done
	expect_log "$MOD" <<< "${text%$'\n'}"
}

targets_first()
{
	without_drivers
	load_mod dummy
	load_mod veth
	log_mark
	load_lp "$MOD"
	disable_lp "$MOD"
	expect_callbacks <<-EOF
		pre_patch_callback dummy -> $LIVE
		pre_patch_callback veth -> $LIVE
		pre_patch_callback vmlinux
		post_patch_callback dummy -> $LIVE
		post_patch_callback veth -> $LIVE
		post_patch_callback vmlinux
		pre_unpatch_callback dummy -> $LIVE
		pre_unpatch_callback veth -> $LIVE
		pre_unpatch_callback vmlinux
		post_unpatch_callback dummy -> $LIVE
		post_unpatch_callback veth -> $LIVE
		post_unpatch_callback vmlinux
	EOF
}

livepatch_first()
{
	without_drivers
	load_lp "$MOD"
	load_mod dummy
	load_mod veth
	unload_mod veth
	disable_lp "$MOD"
	expect_callbacks <<-EOF
		pre_patch_callback vmlinux
		post_patch_callback vmlinux
		pre_patch_callback dummy -> $COMING
		post_patch_callback dummy -> $COMING
		pre_patch_callback veth -> $COMING
		post_patch_callback veth -> $COMING
		pre_unpatch_callback veth -> $GOING
		post_unpatch_callback veth -> $GOING
		pre_unpatch_callback dummy -> $LIVE
		pre_unpatch_callback vmlinux
		post_unpatch_callback dummy -> $LIVE
		post_unpatch_callback vmlinux
	EOF
}

# The kernel's object is the last; what the others have done is taken back.
kernel_refuses()
{
	without_drivers
	load_mod dummy
	load_mod veth
	log_mark
	load_fails ENODEV "$MOD" fail=vmlinux
	expect_callbacks <<-EOF
		pre_patch_callback dummy -> $LIVE
		pre_patch_callback veth -> $LIVE
		pre_patch_callback vmlinux
		post_unpatch_callback dummy -> $LIVE
		post_unpatch_callback veth -> $LIVE
	EOF
}

driver_refuses()
{
	without_drivers
	load_mod dummy
	load_mod veth
	log_mark
	load_fails ENODEV "$MOD" fail=veth
	expect_callbacks <<-EOF
		pre_patch_callback dummy -> $LIVE
		pre_patch_callback veth -> $LIVE
		post_unpatch_callback dummy -> $LIVE
	EOF
}

driver_is_refused()
{
	without_drivers
	load_lp "$MOD" fail=dummy
	log_mark
	load_fails ENODEV dummy
	load_mod veth
	expect_file "$KLP_SYSFS/$MOD/enabled" 1
	expect_callbacks <<-EOF
		pre_patch_callback dummy -> $COMING
		pre_patch_callback veth -> $COMING
		post_patch_callback veth -> $COMING
	EOF
}

ktap_case "drivers that are there before the livepatch" targets_first
ktap_case "drivers that come after it" livepatch_first
ktap_case "R7: the kernel's pre_patch fails" kernel_refuses
ktap_case "R7: a driver's pre_patch fails" driver_refuses
ktap_case "R8: a driver is refused" driver_is_refused
ktap_finish

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# No callback of a sample takes a lock under which somebody waits for a module: see book/src/model/context.md. lockdep
# cannot see that wait, so test_klp_lock_order teaches it; then each sample's callbacks run once.
#
# xtask: modules=asm-trampoline,deferred-work,failing-pre-patch,function-fix,netdev-features,selftests
# xtask: modules=shadow-data,state-handover,syscall-compat,sysctl-update nics=2

. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/lock_order.sh"

SAMPLES=(asm_trampoline deferred_work failing_pre_patch function_fix netdev_features shadow_data state_handover syscall_compat
	"sysctl_update when=pre" "sysctl_update when=post")

require_config CONFIG_PROVE_LOCKING=y
under_rtnl_needs
require_command python3
require_module veth mac802154_hwsim
require_ko test_klp_lock_order asm_target "${SAMPLES[@]%% *}"
ktap_plan $((1 + ${#SAMPLES[@]}))
load_mod test_klp_lock_order

# Locks that are held while a module is waited for; each once, so that lockdep knows.
wait_under_locks()
{
	# RTNL
	hold_rtnl
	loaded_under_rtnl
	# The lock of a socket.
	python3 -c '
import socket
with socket.socket() as s:
    try:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"none")
    except OSError:
        pass
    try:
        s.setsockopt(socket.IPPROTO_TCP, 31, b"none")  # TCP_ULP
    except OSError:
        pass'
}

no_splat()
{
	expect_no_log "possible (circular|recursive) locking|Invalid wait context|suspicious RCU"
	# After the first splat lockdep looks no more.
	grep -qE '^ *debug_locks: *1$' /proc/lockdep_stats || fail "lockdep is off"
}

# With its targets there, and once more while they come and go.
once()
{
	local mod=$1 target

	load_lp "$@"
	for target in asm_target veth mac802154_hwsim; do
		load_mod "$target"
		unload_mod "$target"
	done
	unload_mod mac802154
	disable_lp "$mod"
	unload_mod "$mod"
	load_mod asm_target
	load_mod mac802154_hwsim
	load_lp "$@"
	disable_lp "$mod"
	unload_mod "$mod"
	unload_mod asm_target
	unload_mod mac802154_hwsim
	unload_mod mac802154
	no_splat
}

modprobe -q virtio_net
ktap_case "modules are waited for under RTNL and under a socket's lock" wait_under_locks
for sample in "${SAMPLES[@]}"; do
	# shellcheck disable=SC2086 # a module and its parameter
	ktap_case "$sample" once $sample
done
ktap_finish

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Every allocation between insmod and "patching complete" fails once, one after the other, and every call of a function
# that can fail: the livepatch is refused with a clean errno or works in spite, leaves nothing behind, and can be loaded
# again. fail_nth.py does the work and says what "nothing" is.
#
# Needs a kernel with fault injection (CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC, their files and their stack filter).
#
# KLP_FAULTS_STEP: of the points from the module's init on only one in so many is tried, the last one first.
# KLP_FAULTS_LOADER_STEP: the same for a whole load, which is mostly the module loader's own business.
# KLP_FAULTS_SECONDS: no sweep begins another point after so long. With CI_FULL=1 all points are tried, however long
# it takes, and a load without a fault follows each that was refused once the module's init had begun. The table tells
# how many there were and how many were tried.
#
# With one processor a transition need not wait for the idle task of the other, and ends at once instead of after a second.
#
# xtask: timeout=10800 nics=2 cpus=1
# xtask: modules=asm-trampoline,deferred-work,failing-pre-patch,netdev-features,selftests
# xtask: modules=shadow-data,state-handover,sysctl-update

. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/rules.sh"

if [ "${CI_FULL:-}" = 1 ]; then
	STEP=${KLP_FAULTS_STEP:-1}
	LOADER_STEP=${KLP_FAULTS_LOADER_STEP:-1}
	LONGEST=${KLP_FAULTS_SECONDS:-36000}
	NEXT=(--next)
else
	STEP=${KLP_FAULTS_STEP:-1}
	LOADER_STEP=${KLP_FAULTS_LOADER_STEP:-23}
	LONGEST=${KLP_FAULTS_SECONDS:-45}
	NEXT=()
fi
FAULTS=/sys/kernel/debug

# ---- what is swept ----------------------------------------------------------

# sweep KIND STEP WATCH MODULE [P=V…]: one row of the table, named after the case
sweep()
{
	local kind=$1 step=$2 watch=$3 mod=$4 ko out status=0 next=()

	shift 4
	if [ "$kind" != loader ]; then
		next=("${NEXT[@]}")
	fi
	ko=$(find_ko "$mod") || fail "no $mod.ko"
	echo "$mod" >> "$KLP_TMP/loaded"
	on_exit klp__drop_mod "$mod"
	log "# faults: $mod $* ($kind, every $step)"
	out=$("$KLP_DIR/fail_nth.py" --sweep "$kind" --step "$step" --seconds "$LONGEST" --watch "$watch" \
		"${next[@]}" --fail-call "$FAIL_CALL" "$ko" "$@" 2>&1) || status=$?
	printf '%s|%s|%s|%s\n' "$mod${*:+ $*}" "$kind" "$step" "$(grep '^points=' <<< "$out")" >> "$KLP_TMP/table"
	if [ "$status" -ne 0 ]; then
		diag "$out"
		fail "the sweep of $mod ended with $status"
	fi
	diag "$(grep '^points=' <<< "$out")"
}

# all_sweeps WATCH MODULE [P=V…]
all_sweeps()
{
	sweep init "$STEP" "$@"
	sweep complete 1 "$@"
	sweep calls 1 "$@"
	sweep loader "$LOADER_STEP" "$@"
}

table()
{
	diag "livepatch | faults in | every | points | tried | ended as"
	while IFS='|' read -r mod kind step result; do
		diag "$mod | $kind | $step | $(sed -E 's/points=([0-9]+) tried=([0-9]+) ?/\1 | \2 | /' <<< "$result")"
	done < "$KLP_TMP/table"
}

# ---- the cases ----------------------------------------------------------------

LIMIT=net.ipv4.tcp_challenge_ack_limit

sysctl_update()
{
	save_sysctl "$LIMIT"
	sysctl -q -w "$LIMIT=100"
	netns_add klp-old
	in_ns klp-old sysctl -q -w "$LIMIT=100"
	all_sweeps "sysctl -n $LIMIT; ip netns exec klp-old sysctl -n $LIMIT" sysctl_update "when=$1"
}

failing_pre_patch()
{
	require_module veth dummy
	load_mod veth
	load_mod dummy
	save_sysctl net.core.max_skb_frags
	sysctl -q -w net.core.max_skb_frags=17
	all_sweeps "sysctl -n net.core.max_skb_frags" failing_pre_patch
}

state_handover()
{
	save_sysctl net.core.rmem_max net.core.wmem_max
	sysctl -q -w net.core.rmem_max=212992 net.core.wmem_max=212992
	all_sweeps "sysctl -n net.core.rmem_max net.core.wmem_max" state_handover
}

shadow_data()
{
	python3 -c 'import socket, time; s = [socket.socket(2, 3, i) for i in (1, 6, 17)]; time.sleep(100000)' &
	wait_for raw_sockets 3 || fail "no raw sockets"
	all_sweeps "awk 'NR == 1 { print NF }' /proc/net/raw" shadow_data
}

raw_sockets()
{
	[ "$(($(wc -l < /proc/net/raw) - 1))" -ge "$1" ]
}

deferred_work()
{
	all_sweeps "awk 'NR == 1 { print \$NF }' /proc/softirqs" deferred_work
}

asm_trampoline()
{
	load_mod asm_target
	all_sweeps "cat /sys/kernel/asm_target/checksum /sys/kernel/asm_target/percent" asm_trampoline
}

netdev_features()
{
	require_module virtio_net
	modprobe virtio_net
	wait_for two_cards || skip "no two cards of virtio_net"
	all_sweeps "for nic in /sys/bus/virtio/drivers/virtio_net/virtio*/net/*; do ethtool -k \${nic##*/} | grep generic-receive; done" netdev_features
}

two_cards()
{
	local dev

	dev=(/sys/bus/virtio/drivers/virtio_net/virtio*/net/*)
	[ -d "${dev[0]}" ] && [ "${#dev[@]}" -ge 2 ]
}

several_objects()
{
	uid_65534
	load_targets
	all_sweeps "cat $UID_FILE $ANSWER" rules_all
}

# The other way about: the livepatch is there, and the target comes.
target_later()
{
	uid_65534
	load_lp rules_all
	sweep init "$STEP" "cat $UID_FILE" rules_target
	sweep calls 1 "cat $UID_FILE" rules_target
	sweep loader "$LOADER_STEP" "cat $UID_FILE" rules_target
	expect_file "$KLP_SYSFS/rules_all/enabled" 1
	expect_file "$UID_FILE" 60001
}

# What is not an allocation. ftrace cannot be told to fail, but to be off.
no_ftrace()
{
	local mod

	save_sysctl kernel.ftrace_enabled
	uid_65534
	load_targets
	save_sysctl "$LIMIT" net.core.max_skb_frags
	sysctl -q -w "$LIMIT=100"
	for mod in rules_all sysctl_update deferred_work state_handover shadow_data; do
		if ! ftrace_needed "$mod"; then
			continue
		fi
		sysctl -q -w kernel.ftrace_enabled=0
		load_fails EBUSY "$mod"
		sysctl -q -w kernel.ftrace_enabled=1
		expect_file "$UID_FILE" 65534
		expect_file "/proc/sys/${LIMIT//.//}" 100
		load_lp "$mod"
		disable_lp "$mod"
		unload_mod "$mod"
	done
}

# Those that replace a function.
ftrace_needed()
{
	[ "$1" != state_handover ]
}

# Functions that the kernel declares for it and that the path of a load leads through.
functions()
{
	local inject=$FAULTS/fail_function name file

	require_file "$inject"
	for name in __x64_sys_finit_module __filemap_add_folio should_failslab should_fail_alloc_page; do
		if ! grep -q "^${name}[[:blank:]]" "$inject/injectable"; then
			diag "$name cannot be injected here"
			continue
		fi
		uid_65534
		on_exit klp__to_file "$inject/inject" ""
		for file in "interval 1" "times 1" "space 0" "verbose 0" "task-filter Y" "probability 100"; do
			klp__to_file "$inject/${file% *}" "${file#* }"
		done
		echo "$name" > "$inject/inject"
		if [ -e "$inject/$name/retval" ] && ! grep -q TRUE <(grep "^${name}[[:blank:]]" "$inject/injectable"); then
			printf '%#x\n' -12 > "$inject/$name/retval"
		fi
		diag "$name: $(load_with_faults rules_all)"
		echo > "$inject/inject"
		load_lp rules_all
		disable_lp rules_all
		unload_mod rules_all
		expect_file "$UID_FILE" 65534
	done
}

load_with_faults()
{
	local ko

	ko=$(find_ko "$1")
	echo "$1" >> "$KLP_TMP/loaded"
	if out=$(bash -c 'echo 1 > /proc/self/make-it-fail; exec insmod "$0"' "$ko" 2>&1); then
		wait_transition "$1"
		disable_lp "$1"
		unload_mod "$1"
		echo "loaded in spite"
	else
		echo "refused: ${out##*: }"
	fi
}

require_config CONFIG_FAILSLAB CONFIG_FAIL_PAGE_ALLOC CONFIG_FAULT_INJECTION_DEBUG_FS \
	CONFIG_FAULT_INJECTION_STACKTRACE_FILTER CONFIG_KPROBES
require_command python3 ethtool ip sysctl
require_file "$FAULTS/failslab" "$FAULTS/fail_page_alloc" /proc/self/fail-nth
rules_needs rules_all rules_target rules_other sysctl_update failing_pre_patch state_handover shadow_data \
	deferred_work asm_trampoline netdev_features fail_call
FAIL_CALL=$(find_ko fail_call)
ktap_plan 13
: > "$KLP_TMP/table"
ktap_case "rules_all, three objects" several_objects
ktap_case "sysctl_update, raising before the transition" sysctl_update pre
ktap_case "sysctl_update, raising after it" sysctl_update post
ktap_case "failing_pre_patch" failing_pre_patch
ktap_case "state_handover" state_handover
ktap_case "shadow_data" shadow_data
ktap_case "deferred_work" deferred_work
ktap_case "asm_trampoline" asm_trampoline
ktap_case "netdev_features" netdev_features
ktap_case "a target that is loaded later" target_later
ktap_case "ftrace is off" no_ftrace
ktap_case "functions that the kernel lets fail" functions
ktap_case "the table of the points" table
ktap_finish

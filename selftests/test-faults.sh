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
# With CI_FULL=1 all points are tried, and a load without a fault follows each that was refused once the module's init
# had begun. The table tells how many there were and how many were tried.
# KLP_SHARD=I/N: only every Nth case, from the Ith on.
#
# With one processor a transition need not wait for the idle task of the other, and ends at once instead of after a second.
#
# xtask: kernel=own timeout=10800 nics=2 cpus=1 shards=4
# xtask: modules=asm-trampoline,deferred-work,failing-pre-patch,function-fix,netdev-features,raw-opener,selftests
# xtask: modules=state-handover,sysctl-update

. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/rules.sh"

STEP=${KLP_FAULTS_STEP:-1}
NEXT=()
if [ "${CI_FULL:-}" = 1 ]; then
	LOADER_STEP=${KLP_FAULTS_LOADER_STEP:-1}
	NEXT=(--next)
else
	LOADER_STEP=${KLP_FAULTS_LOADER_STEP:-23}
fi
FAULTS=/sys/kernel/debug

# ---- what is swept ----------------------------------------------------------

# sweep SWEEPS MODULE [P=V…] [-- WATCH…]: rows of the table, named after the module
sweep()
{
	local sweeps=$1 mod=$2 params=() watch=() word status=0 line

	shift 2
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		params+=("$1")
		shift
	done
	for word in "${@:2}"; do
		watch+=(--watch "$word")
	done
	klp__find_ko "$mod" || fail "no $mod.ko"
	echo "$mod" >> "$KLP_TMP/loaded"
	on_exit klp__drop_mod "$mod"
	log "# faults: $mod ${params[*]} ($sweeps)"
	"$KLP_DIR/fail_nth.py" --sweep "$sweeps" "${watch[@]}" "${NEXT[@]}" --fail-call "$FAIL_CALL" \
		"$REPLY" "${params[@]}" > "$KLP_TMP/said" 2>&1 || status=$?
	while read -r line; do
		if [[ $line =~ ^sweep=([a-z]+)\ every=([0-9]+)\ points=([0-9]+)\ tried=([0-9]+)\ ?(.*) ]]; then
			diag "$line"
			printf '%s | ' "$mod${params[*]:+ ${params[*]}}" "${BASH_REMATCH[@]:1:4}" >> "$KLP_TMP/table"
			echo "${BASH_REMATCH[5]}" >> "$KLP_TMP/table"
		fi
	done < "$KLP_TMP/said"
	if [ "$status" -ne 0 ]; then
		klp__read "$KLP_TMP/said"
		diag "$REPLY"
		fail "the sweep of $mod ended with $status"
	fi
}

# all_sweeps MODULE [P=V…] [-- WATCH…]
all_sweeps()
{
	sweep "init/$STEP,complete,calls,loader/$LOADER_STEP" "$@"
}

table()
{
	klp__read "$KLP_TMP/table"
	diag "livepatch | faults in | every | points | tried | ended as"
	diag "$REPLY"
}

# ---- the cases ----------------------------------------------------------------

LIMIT=net.ipv4.tcp_challenge_ack_limit
LIMIT_FILE=/proc/sys/${LIMIT//.//}

sysctl_update()
{
	save_sysctl "$LIMIT"
	sysctl -q -w "$LIMIT=100"
	netns_add klp-old
	in_ns klp-old sysctl -q -w "$LIMIT=100"
	all_sweeps sysctl_update "when=$1" -- "file=$LIMIT_FILE" "netns=klp-old:$LIMIT_FILE"
}

failing_pre_patch()
{
	require_module veth dummy
	load_mod veth
	load_mod dummy
	save_sysctl net.core.max_skb_frags
	sysctl -q -w net.core.max_skb_frags=17
	all_sweeps failing_pre_patch -- file=/proc/sys/net/core/max_skb_frags
}

state_handover()
{
	save_sysctl net.core.rmem_max net.core.wmem_max
	sysctl -q -w net.core.rmem_max=212992 net.core.wmem_max=212992
	all_sweeps state_handover -- file=/proc/sys/net/core/rmem_max file=/proc/sys/net/core/wmem_max
}

raw_opener()
{
	python3 -c 'import socket, time; s = [socket.socket(2, 3, i) for i in (1, 6, 17)]; time.sleep(100000)' &
	wait_for raw_sockets 3 || fail "no raw sockets"
	all_sweeps raw_opener -- head=/proc/net/raw
}

raw_sockets()
{
	[ "$(($(wc -l < /proc/net/raw) - 1))" -ge "$1" ]
}

deferred_work()
{
	all_sweeps deferred_work -- head=/proc/softirqs
}

asm_trampoline()
{
	load_mod asm_target
	all_sweeps asm_trampoline -- file=/sys/kernel/asm_target/checksum file=/sys/kernel/asm_target/percent
}

netdev_features()
{
	require_module virtio_net
	modprobe virtio_net
	wait_for two_cards || skip "no two cards of virtio_net"
	all_sweeps netdev_features -- "${NICS[@]/#*\//gro=}"
}

function_fix()
{
	load_mod test_klp_names
	all_sweeps function_fix -- file=/proc/test_klp_names
}

two_cards()
{
	NICS=(/sys/bus/virtio/drivers/virtio_net/virtio*/net/*)
	[ -d "${NICS[0]}" ] && [ "${#NICS[@]}" -ge 2 ]
}

several_objects()
{
	uid_65534
	load_targets
	all_sweeps rules_all -- "file=$UID_FILE" "file=$ANSWER"
}

# The other way about: the livepatch is there, and the target comes.
target_later()
{
	uid_65534
	load_lp rules_all
	sweep "init/$STEP,calls,loader/$LOADER_STEP" rules_target -- "file=$UID_FILE"
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
	for mod in rules_all sysctl_update deferred_work function_fix state_handover raw_opener; do
		if ! ftrace_needed "$mod"; then
			continue
		fi
		sysctl -q -w kernel.ftrace_enabled=0
		load_fails EBUSY "$mod"
		sysctl -q -w kernel.ftrace_enabled=1
		expect_file "$UID_FILE" 65534
		expect_file "$LIMIT_FILE" 100
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
rules_needs rules_all rules_target rules_other sysctl_update failing_pre_patch state_handover raw_opener \
	deferred_work asm_trampoline netdev_features function_fix test_klp_names fail_call
FAIL_CALL=$(find_ko fail_call)

# Every case and what it runs; neighbours are of different parts, so the longest stand apart.
CASES=(
	"rules_all, three objects|several_objects"
	"sysctl_update, raising before the transition|sysctl_update pre"
	"sysctl_update, raising after it|sysctl_update post"
	"failing_pre_patch|failing_pre_patch"
	"state_handover|state_handover"
	"raw_opener|raw_opener"
	"deferred_work|deferred_work"
	"asm_trampoline|asm_trampoline"
	"netdev_features|netdev_features"
	"function_fix|function_fix"
	"a target that is loaded later|target_later"
	"ftrace is off|no_ftrace"
	"functions that the kernel lets fail|functions"
)
SHARD=${KLP_SHARD:-1/1}
CHOSEN=()
for ((i = ${SHARD%/*} - 1; i < ${#CASES[@]}; i += ${SHARD#*/})); do
	CHOSEN+=("${CASES[i]}")
done
ktap_plan $((${#CHOSEN[@]} + 1))
: > "$KLP_TMP/table"
for entry in "${CHOSEN[@]}"; do
	read -ra words <<< "${entry#*|}"
	ktap_case "${entry%%|*}" "${words[@]}"
done
ktap_case "the table of the points" table
ktap_finish

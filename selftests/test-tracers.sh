#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Livepatches beside tracers, in both orders: what a tracer sees of a function that is replaced, what of the one in its place,
# and whether a task that sleeps below a hook on its return holds a transition up.
#
# A probe with a post_handler, which is refused, is in test-claims.sh.
#
# xtask: modules=selftests,syscall-compat

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/rules.sh"

TRACING=/sys/kernel/tracing
OLD=rules_target_enter
NEW=livepatch.rules_target.$OLD

rules_needs rules_all rules_target syscall_compat test_klp_livepatch
[ -e "$TRACING/kprobe_events" ] || mount -t tracefs tracefs "$TRACING" 2>/dev/null || true
require_file "$TRACING/kprobe_events"
ktap_plan 11

# probe DEFINITION…: adds them, and switches all on
probe()
{
	local definition

	on_exit no_probes
	for definition in "$@"; do
		log "% echo $definition >> kprobe_events"
		echo "$definition" >> "$TRACING/kprobe_events" || fail "no probe: $(tail -n 3 "$TRACING/error_log")"
	done
	echo 1 > "$TRACING/events/tracers/enable"
	echo > "$TRACING/trace"
}

no_probes()
{
	[ ! -d "$TRACING/events/tracers" ] || echo 0 > "$TRACING/events/tracers/enable"
	echo > "$TRACING/kprobe_events"
	echo > "$TRACING/trace"
}

# What the trace has, without tasks, processors, times and offsets, which change from run to run.
traced()
{
	sed -E '/^#/d; /^$/d; s/^.*[0-9]: ([a-z]+: )/\1/; s/^ *[0-9]+\) .*\|  */graph: /; s/\+0x[0-9a-f]+(\/0x[0-9a-f]+)?//g
		s/ \[rules_[a-z]+\]//g' "$TRACING/trace"
	echo > "$TRACING/trace"
}

# sees ANSWER LINE…: what a read of the target gets, and what the trace then has
sees()
{
	local wanted seen

	wanted=$(printf '%s\n' "${@:2}")
	expect_eq "the answer" "$1" "$(cat "$ANSWER")"
	seen=$(traced)
	log "# the answer is $1"
	[ -z "$seen" ] || show printf '%s\n' "$seen"
	expect_eq "the trace" "$wanted" "$seen"
}

# On entry and return of the old function, and inside of it.
kprobes()
{
	local offset

	# Behind the call of ftrace; where the function begins with endbr64, this is in the midst of it and refused.
	for offset in 9 5; do
		echo "p:tracers/inside rules_target:$OLD+$offset" > "$TRACING/kprobe_events" && break
	done 2> "$KLP_TMP/said"
	probe "p:tracers/enter rules_target:$OLD" "r:tracers/leave rules_target:$OLD ret=\$retval:s32"
}

OLD_TRACE=("enter: ($OLD)" "inside: ($OLD)" "leave: (rules_target_show <- $OLD) ret=0")
# Nobody comes by the inside of a function that is replaced.
NEW_TRACE=("enter: ($OLD)" "leave: (rules_target_show <- $OLD) ret=11")

# ANCHOR: kprobes
kprobes_first()
{
	load_mod rules_target
	kprobes
	log_mark
	sees 0 "${OLD_TRACE[@]}"
	load_lp rules_all
	sees 11 "${NEW_TRACE[@]}"
	disable_lp rules_all
	sees 0 "${OLD_TRACE[@]}"
	unload_mod rules_all
	check_transcript tracers-kprobes
}

kprobes_later()
{
	load_mod rules_target
	load_lp rules_all
	kprobes
	sees 11 "${NEW_TRACE[@]}"
	disable_lp rules_all
	sees 0 "${OLD_TRACE[@]}"
}
# ANCHOR_END: kprobes

# ANCHOR: replacement
# A replacement in Rust has a call of ftrace where its compiler is 1.98 or later. Without one tracefs sets no kprobe on it.
on_replacement()
{
	local new="p:tracers/new rules_all:$NEW"

	! has_config CONFIG_KPROBE_EVENTS_ON_NOTRACE || skip "CONFIG_KPROBE_EVENTS_ON_NOTRACE is in this kernel"
	load_mod rules_target
	load_lp rules_all
	on_exit restore_file "$TRACING/set_ftrace_filter" ""
	if echo "$NEW" 2> /dev/null > "$TRACING/set_ftrace_filter"; then
		probe "$new"
		sees 11 "new: ($NEW)"
	else
		expect_fail EINVAL write_file "$TRACING/kprobe_events" "$new"
		log_has "^trace_kprobe: Could not probe notrace function $NEW" || fail "refused for another reason"
	fi
	disable_lp rules_all
}
# ANCHOR_END: replacement

no_graph()
{
	echo nop > "$TRACING/current_tracer"
	echo > "$TRACING/set_ftrace_filter"
	echo > "$TRACING/trace"
}

graph()
{
	require_file "$TRACING/set_graph_function"
	on_exit no_graph
	log "% echo $OLD > set_ftrace_filter; echo function_graph > current_tracer"
	echo "$OLD" > "$TRACING/set_ftrace_filter"
	echo function_graph > "$TRACING/current_tracer"
}

# ANCHOR: graph
# The graph has the function under its old name, whichever is run.
graph_tracer()
{
	load_mod rules_target
	graph
	sees 0 "graph: $OLD();"
	load_lp rules_all
	sees 11 "graph: $OLD();"
	no_graph
	graph
	sees 11 "graph: $OLD();"
	disable_lp rules_all
	sees 0 "graph: $OLD();"
	check_transcript tracers-graph
}
# ANCHOR_END: graph

# ANCHOR: asleep
# moves_beside CMD…: a task sleeps in a function whose return CMD has hooked; another function is patched and unpatched
moves_beside()
{
	load_mod rules_target
	"$@"
	park
	grep -q "$OLD" "/proc/$PARKED/stack" || fail "the stack of the sleeper is not readable: $(cat "/proc/$PARKED/stack")"
	load_lp test_klp_livepatch
	expect_file "/proc/$PARKED/patch_state" -1
	disable_lp test_klp_livepatch
	unpark
	expect_eq "answer" 0 "$ANSWERED"
	! log_has '^livepatch: signaling remaining tasks$' || fail "the sleeper held it up"
}
# ANCHOR_END: asleep

# bpf PROGRAM CMD…: bpftrace runs it, and has seen what CMD does
bpf()
{
	require_command bpftrace
	require_file /sys/kernel/btf/vmlinux
	log "% bpftrace -e '$1'"
	: > "$KLP_TMP/bpf"
	# Appended: what was truncated would else begin with zeros.
	bpftrace -q -B line -e "$1" >> "$KLP_TMP/bpf" 2>&1 &
	on_exit bpf_ends $!
	wait_for bpf_sees "${@:2}" || fail "bpftrace: $(cat "$KLP_TMP/bpf")"
}

bpf_sees()
{
	"$@" > /dev/null
	[ -s "$KLP_TMP/bpf" ]
}

bpf_ends()
{
	! kill -INT "$1" 2> /dev/null || wait_for test ! -d "/proc/$1"
}

# Which function ran, they tell by how many bytes it wrote.
BPF='fentry:vmlinux:cmdline_proc_show { printf("enter: %d bytes\n", args.m->count) } '
BPF+='fexit:vmlinux:cmdline_proc_show { printf("leave: %d bytes\n", args.m->count) }'

# A read of /proc/cmdline, as the programs see it.
reads_cmdline()
{
	local bytes

	: > "$KLP_TMP/bpf"
	read_file /proc/cmdline
	bytes=$((${#REPLY} + 1))
	wait_for has_line "$KLP_TMP/bpf" "leave: $bytes bytes" || fail "$bytes bytes; seen: $(cat "$KLP_TMP/bpf")"
	has_line "$KLP_TMP/bpf" "enter: 0 bytes" || fail "seen: $(cat "$KLP_TMP/bpf")"
	show sed "s/ $OWN_BYTES bytes/ all its bytes/" "$KLP_TMP/bpf"
}

# ANCHOR: bpf
bpf_first()
{
	bpf "$BPF" cat /proc/cmdline
	reads_cmdline
	load_lp test_klp_livepatch
	reads_cmdline
	disable_lp test_klp_livepatch
	reads_cmdline
	check_transcript tracers-bpf
}

bpf_later()
{
	load_lp test_klp_livepatch
	bpf "$BPF" cat /proc/cmdline
	reads_cmdline
	disable_lp test_klp_livepatch
	reads_cmdline
}
# ANCHOR_END: bpf

# Addresses of perf's call chains, as far as they are in our modules, by name. It looks modules up in files, which may be elsewhere.
named()
{
	awk 'NR == FNR { name[$1] = $3; next }
		{ at = ""; for (its in name) if (its <= $1 && its > at) at = its; if (name[at] ~ /rules_target_/) print name[at] }' "$@"
}

# ANCHOR: perf
perf_chains()
{
	local filter="ip == $OLD || ip == rules_target_wait" recorder

	require_command perf
	require_file "$TRACING/events/ftrace/function"
	load_mod rules_target
	log "% perf record -a -g -e ftrace:function --filter '$filter' &"
	# What perf starts, it starts when it counts.
	perf record -q -B -N -o "$KLP_TMP/perf" -a -g -e ftrace:function --filter "$filter" \
		sh -c "echo; exec sleep 100000" > "$KLP_TMP/counts" 2> "$KLP_TMP/said" &
	recorder=$!
	wait_for test -s "$KLP_TMP/counts" || fail "perf: $(cat "$KLP_TMP/said")"
	expect_file "$ANSWER" 0
	load_lp rules_all
	expect_file "$ANSWER" 11
	grep '\[rules_' /proc/kallsyms > "$KLP_TMP/names"
	disable_lp rules_all
	expect_file "$ANSWER" 0
	kill -INT "$recorder"
	wait "$recorder" || true
	log "% perf script"
	perf script -i "$KLP_TMP/perf" -F ip > "$KLP_TMP/chains" 2> "$KLP_TMP/said" || fail "perf: $(cat "$KLP_TMP/said")"
	show named "$KLP_TMP/names" "$KLP_TMP/chains"
	check_transcript tracers-perf
}
# ANCHOR_END: perf

uprobes()
{
	bpf 'uretprobe:libc:read /comm == "cat"/ { printf("read() = %d\n", retval) }' cat /proc/cmdline
}

faulter_is_in()
{
	read_file "/proc/$FAULTER/stack" && [[ $REPLY == *handle_userfault* && $REPLY == *livepatch.vmlinux.*waitid* ]]
}

# is_in_state LETTER: the task is; and the log says so
is_in_state()
{
	read_file "/proc/$FAULTER/stat" && [[ $REPLY == *") $1 "* ]] && log "# the task: state $1"
}

# of_stack FUNCTION|…: what of its stack is one of these
of_stack() { sed -E -n "s/^(\[.*\] )?($1).*/\2/p" "/proc/$FAULTER/stack"; }

# ANCHOR: fault
# The core sees through a page fault to what the task came from, and its fake signal does not end the fault: the task tries
# again and again from then on.
page_fault()
{
	require_config CONFIG_USERFAULTFD
	load_lp syscall_compat
	"$KLP_DIR/fault.py" "$KLP_TMP/go" > "$KLP_TMP/said" &
	FAULTER=$!
	wait_for faulter_is_in || fail "no fault in waitid(): $(cat "$KLP_TMP/said" "/proc/$FAULTER/stack")"
	load_lp test_klp_livepatch
	disable_lp test_klp_livepatch
	! log_has '^livepatch: signaling remaining tasks$' || fail "the fault of another function held it up"

	log_mark
	wait_for is_in_state S || fail "it does not sleep: $REPLY"
	show of_stack 'handle_userfault|asm_exc_page_fault|livepatch[^+]*'
	write_file "$KLP_SYSFS/syscall_compat/enabled" 0
	wait_for log_has '^livepatch: signaling remaining tasks$' || fail "nobody was signaled"
	expect_stalled syscall_compat
	wait_for is_in_state R || fail "it does not run: $REPLY"
	# In the midst of the fault, or before the next.
	show of_stack 'livepatch[^+]*'
	log "# the page is there"
	: > "$KLP_TMP/go"
	wait_for test ! -e "$KLP_SYSFS/syscall_compat" || fail "it is held up all the same: $(stuck_tasks)"
	wait "$FAULTER" || fail "fault.py: $(cat "$KLP_TMP/said")"
	show tail -n 1 "$KLP_TMP/said"
	check_transcript tracers-fault syscall_compat
}
# ANCHOR_END: fault

read_file /proc/cmdline
OWN_BYTES=$((${#REPLY} + 1))
ktap_case "kprobes first: entry and return of the old function are seen, its inside is not" kprobes_first
ktap_case "the livepatch first: kprobes see the same" kprobes_later
ktap_case "a kprobe on a replacement in Rust is refused where ftrace does not reach it" on_replacement
ktap_case "the function graph tracer sees a replaced function, in both orders" graph_tracer
ktap_case "a task asleep below a kretprobe holds nothing up" moves_beside kprobes
ktap_case "a task asleep below the function graph tracer holds nothing up" moves_beside graph
ktap_case "BPF's fentry and fexit first: they see whichever function runs" bpf_first
ktap_case "the livepatch first: fentry and fexit see the same" bpf_later
ktap_case "perf counts calls of the old function, and its call chains have the one that ran" perf_chains
ktap_case "a task asleep below a uretprobe holds nothing up" moves_beside uprobes
ktap_case "a task in a page fault holds up what it came from, and nothing else" page_fault
ktap_finish

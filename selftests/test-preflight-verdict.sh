#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# What the kernel itself says of the livepatches that `cargo xtask preflight` does not call clean: the list is that of
# selftests/preflight, so that neither verdict can change without the other.
#
# xtask: modules=trouble,asm-trampoline,selftests

. "$(dirname "$0")/functions.sh"

. "$(dirname "$0")/rules.sh"

require_ko trouble_target asm_target test_klp_redirect_target rules_target

verdict()
{
	load_mod "$3"
	case $2 in
	refused)
		load_fails EINVAL "$1"
		;;
	warning)
		load_lp "$1"
		disable_lp "$1"
		unload_mod "$1"
		;;
	wrong)
		"$1"
		;;
	*)
		fail "selftests/preflight: what is $2?"
		;;
	esac
}

# The core takes what is behind the table for a part of it.
trouble_no_end()
{
	load_fails EINVAL trouble_no_end
	log_has "symbol 'trouble_behind' not found" || fail "the core stopped at the end of the table"
}

trouble_idle()
{
	load_mod trouble_idle
	[ ! -e "$KLP_SYSFS/trouble_idle" ] || fail "it is enabled"
}

# The transition ends with a task in the module, which could be removed from under it.
trouble_tail_call()
{
	load_lp trouble_tail_call
	park
	disable_lp trouble_tail_call
	asleep "$PARKED" || fail "the task was woken"
	grep -q '\[trouble_tail_call\]' "/proc/$PARKED/stack" || fail "$(cat "/proc/$PARKED/stack")"
	unpark
	expect_eq "answer of the task that was in it" 7 "$ANSWERED"
	unload_mod trouble_tail_call
}

# What no build makes: preflight's own test (scripts/preflight/src/main.rs) makes the same. refused_as ERRNO FROM TO MESSAGE
refused_as()
{
	sed "s/$2/$3/g" "$(find_ko trouble_no_state)" > "$KLP_TMP/trouble_no_state.ko"
	expect_fail "$1" insmod "$KLP_TMP/trouble_no_state.ko"
	log_has "$4" || fail "refused for another reason"
}

# ANCHOR: inlined
# seq_open() has callers in other files. In its own file its code was copied into them, and they never come to the function.
inlined()
{
	local tracing=/sys/kernel/tracing

	require_file "$tracing/set_ftrace_filter"
	on_exit klp__to_file "$tracing/set_ftrace_filter" ""
	on_exit klp__to_file "$tracing/current_tracer" nop
	echo seq_open single_open > "$tracing/set_ftrace_filter"
	echo function > "$tracing/current_tracer"
	cat /proc/version
	grep -w "cat.*single_open" "$tracing/trace" || fail "it was not opened by single_open()"
	! grep -w "cat.*seq_open" "$tracing/trace" || fail "single_open() calls seq_open()"
}
# ANCHOR_END: inlined

list=$(awk '!/^#/ && $3' "$KLP_DIR/preflight")
ktap_plan $(($(wc -l <<< "$list") + 3))
while read -r module grade target; do
	ktap_case "$module: $grade" verdict "$module" "$grade" "$target"
done <<< "$list"
ktap_case "built for another kernel: refused" refused_as ENOEXEC 'vermagic=[0-9]' 'vermagic=0' "version magic"
ktap_case "a symbol that nobody exports: refused" refused_as ENOENT klp_enable_patch klp_enable_potch "Unknown symbol klp_enable_potch"
ktap_case "seq_open: its code is in single_open" inlined
ktap_finish

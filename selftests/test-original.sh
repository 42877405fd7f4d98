#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Replacements that call the functions that they replace: `as NAME` in `functions` of livepatch!.
#
# xtask: modules=selftests

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/rules.sh"

LP=test_klp_original
TARGET=test_klp_original_target
PARAMS=/sys/module/$TARGET/parameters
TRACING=/sys/kernel/tracing

require_config CONFIG_X86_64 CONFIG_HAVE_STATIC_CALL
require_ko "$LP" "$TARGET" rules_target rules_other rules_all rules_next
require_file /proc/cmdline "$TRACING/set_ftrace_filter"
ktap_plan 7

cmdline=$(< /proc/cmdline)

more()
{
	expect_eq "/proc/cmdline" "$cmdline"$'\nand more' "$(< /proc/cmdline)"
}

plain()
{
	expect_eq "/proc/cmdline" "$cmdline" "$(< /proc/cmdline)"
}

goes_on()
{
	plain
	load_lp "$LP"
	more
	disable_lp "$LP"
	plain
	unload_mod "$LP"
}

# Nine arguments, of which three are on the stack, and an answer behind a hidden pointer.
not_in_registers()
{
	load_mod "$TARGET"
	expect_file "$PARAMS/sum" 285
	expect_file "$PARAMS/big" "5 6 7 8 9"
	load_lp "$LP"
	expect_file "$PARAMS/sum" 286
	expect_file "$PARAMS/big" "95 94 93 92 91"
	disable_lp "$LP"
	expect_file "$PARAMS/sum" 285
	expect_file "$PARAMS/big" "5 6 7 8 9"
}

# The second time another module is where the functions were.
target_comes_and_goes()
{
	local first

	load_lp "$LP"
	load_mod "$TARGET"
	expect_file "$PARAMS/sum" 286
	first=$(< "/sys/module/$TARGET/sections/.text")
	unload_mod "$TARGET"
	load_mod rules_target
	load_mod rules_other
	load_mod "$TARGET"
	[ "$first" != "$(< "/sys/module/$TARGET/sections/.text")" ] || fail "$TARGET is where it was"
	expect_file "$PARAMS/sum" 286
	expect_file "$ANSWER" 33
	disable_lp "$LP"
	expect_file "$PARAMS/sum" 285
}

# The replacement stays on the stack of whoever sleeps in the original.
sleeps_in_original()
{
	load_mod rules_target
	load_lp "$LP"
	park
	write_file "$KLP_SYSFS/$LP/enabled" 0
	expect_stalled "$LP"
	expect_in_use "$LP"
	unpark
	expect_eq "answer of the task" 33 "$ANSWERED"
	wait_for test ! -e "$KLP_SYSFS/$LP"
	expect_file "$ANSWER" 0
}

# The original is the kernel's function, whoever else has replaced it.
beside_another()
{
	load_mod rules_target
	load_lp rules_all
	expect_file "$ANSWER" 11
	load_lp "$LP"
	expect_file "$ANSWER" 33
	disable_lp "$LP"
	expect_file "$ANSWER" 11
	unload_mod "$LP"
	load_lp "$LP"
	disable_lp rules_all
	expect_file "$ANSWER" 33
	disable_lp "$LP"
	expect_file "$ANSWER" 0
}

replaced()
{
	load_mod rules_target
	load_lp "$LP"
	expect_file "$ANSWER" 33
	load_lp rules_next
	expect_file "$ANSWER" 22
	plain
	wait_for test ! -e "$KLP_SYSFS/$LP"
	unload_mod "$LP"
	disable_lp rules_next
	expect_file "$ANSWER" 0
}

# Who traces the function sees each call once, on its way to the replacement, and changes nothing.
traced()
{
	local hits

	save_file "$TRACING/current_tracer"
	on_exit restore_file "$TRACING/set_ftrace_filter" ""
	write_file "$TRACING/set_ftrace_filter" cmdline_proc_show
	write_file "$TRACING/current_tracer" function
	load_lp "$LP"
	: > "$TRACING/trace"
	more
	hits=$(grep -c ': cmdline_proc_show' "$TRACING/trace") || true
	expect_eq "calls that were traced" 1 "$hits"
	write_file "$TRACING/current_tracer" nop
	more
	disable_lp "$LP"
	plain
}

ktap_case "the replacement calls the function and adds to its answer" goes_on
ktap_case "arguments on the stack and an answer in memory" not_in_registers
ktap_case "a target that comes and goes is called where it is" target_comes_and_goes
ktap_case "a task that sleeps in the original holds the unpatching up" sleeps_in_original
ktap_case "another livepatch of the same function, before and after" beside_another
ktap_case "atomic replace by a livepatch that does not call it" replaced
ktap_case "a tracer on the same function" traced
ktap_finish

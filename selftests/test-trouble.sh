#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# What goes wrong with livepatches, made to go wrong: each case brings a symptom about, shows how to find its cause, and
# what helps. The chapters "When it goes wrong" show these cases and their logs.
#
# xtask: modules=trouble,selftests

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/rules.sh"

rules_needs rules_all rules_target rules_subset_0 test_klp_state test_klp_state2
require_ko trouble_{target,no_symbol,wrong_object,ambiguous,ambiguous_kernel,second_twin,third_twin}
require_ko trouble_{gone,inlined,specialised,caller,copy,notrace,not_marked}
require_file /proc/self/patch_state /proc/self/stack /proc/kallsyms
require_command objdump
ktap_plan 17

TROUBLE=/proc/trouble_target

# A command with the number of the parked task as <pid>: it is another one in each run.
show_task()
{
	log "% ${*//$PARKED/<pid>}"
	show bash -o pipefail -c "($*) | sed 's/\b$PARKED\b/<pid>/g'"
}

# A command as a user types it in the folder of the modules, with the answer; it must fail.
refused()
{
	local rc=0 dir

	dir=$(dirname "$(find_ko rules_all)")
	if [ "$1" = insmod ]; then
		unload_later "${2%.ko}"
	fi
	log "% $*"
	# Without a path the answer is the same everywhere.
	(cd "$dir" && show "$@") || rc=$?
	[ "$rc" -ne 0 ] || fail "should have failed: $*"
}

# ANCHOR: transition
transition_never_ends()
{
	load_mod rules_target
	park
	log "% cat $ANSWER &"
	load_lp_nowait rules_all
	expect_stalled rules_all
	wait_for log_has 'livepatch: signaling remaining tasks' || fail "no fake signal"
	# Nothing but the sleeping task is left, and it took no notice.
	expect_stalled rules_all
	typed "cat $KLP_SYSFS/rules_all/transition"
	show_task "grep -lx 0 /proc/[0-9]*/task/[0-9]*/patch_state"
	show_task "cat /proc/$PARKED/comm"
	show_task "sed -n 's/+.*\[/ [/p' /proc/$PARKED/stack"
	disable_lp rules_all
	check_transcript trouble-transition-never-ends rules_all
	unpark
	expect_eq "answer of the task" 0 "$ANSWERED"
	unload_mod rules_all
}
# ANCHOR_END: transition

# ANCHOR: transition-debug
transition_debug()
{
	local control=/proc/dynamic_debug/control

	load_mod rules_target
	park
	load_lp_nowait rules_all
	expect_stalled rules_all
	on_exit restore_file "$control" 'func klp_try_switch_task -p'
	log_mark
	write_file "$control" 'func klp_try_switch_task +p'
	wait_for log_has "klp_try_switch_task: cat:$PARKED is" || fail "the core does not name the task"
	write_file "$control" 'func klp_try_switch_task -p'
	expect_log livepatch <<-EOF
		...
		livepatch: klp_try_switch_task: cat:$PARKED is sleeping on function rules_target_enter
		...
	EOF
	disable_lp rules_all
	unload_mod rules_all
}
# ANCHOR_END: transition-debug

# ANCHOR: transition-kill
transition_kill()
{
	load_mod rules_target
	park
	log "% cat $ANSWER &"
	load_lp_nowait rules_all
	expect_stalled rules_all
	log "% kill -KILL <pid>"
	kill -KILL "$PARKED"
	wait_transition rules_all
	typed "cat $KLP_SYSFS/rules_all/transition"
	check_transcript trouble-transition-kill rules_all
	disable_lp rules_all
	unload_mod rules_all
}
# ANCHOR_END: transition-kill

# ANCHOR: symbol
symbol_not_found()
{
	load_mod trouble_target
	refused insmod trouble_no_symbol.ko
	typed "awk '\$3 ~ /^nr_processe/ { print \$2, \$3, \$4 }' /proc/kallsyms"
	refused insmod trouble_wrong_object.ko
	typed "awk '\$3 == \"trouble_quota\" { print \$2, \$3, \$4 }' /proc/kallsyms"
	check_transcript trouble-symbol-not-found trouble_no_symbol trouble_wrong_object
}
# ANCHOR_END: symbol

# ANCHOR: ambiguous
symbol_ambiguous()
{
	load_mod trouble_target
	refused insmod trouble_ambiguous.ko
	refused insmod trouble_ambiguous_kernel.ko
	typed "awk '\$3 == \"trouble_twin\" { print \$2, \$3, \$4 }' /proc/kallsyms"
	refused insmod trouble_third_twin.ko
	typed "grep twins $TROUBLE"
	load_lp trouble_second_twin
	typed "grep twins $TROUBLE"
	disable_lp trouble_second_twin
	unload_mod trouble_second_twin
	check_transcript trouble-symbol-ambiguous trouble_ambiguous trouble_ambiguous_kernel trouble_third_twin \
		trouble_second_twin
}
# ANCHOR_END: ambiguous

# Functions of trouble_target.ko that are called by their names.
called="objdump -dr trouble_target.ko | grep -o 'PLT32.trouble_[a-z_]*' | tr '\\t' ' ' | sort -u"

# ANCHOR: inlined
function_inlined()
{
	cd "$(dirname "$(find_ko trouble_target)")"
	load_mod trouble_target
	typed "grep -E 'quota|share' $TROUBLE"
	load_lp trouble_inlined
	typed "cat $KLP_SYSFS/trouble_inlined/trouble_target/patched"
	typed "grep quota $TROUBLE"
	typed "$called"
	disable_lp trouble_inlined
	unload_mod trouble_inlined
	refused insmod trouble_gone.ko
	load_lp trouble_caller
	typed "grep -E 'quota|share' $TROUBLE"
	disable_lp trouble_caller
	unload_mod trouble_caller
	check_transcript trouble-function-inlined trouble_inlined trouble_gone trouble_caller
}
# ANCHOR_END: inlined

# ANCHOR: specialised
function_specialised()
{
	# Clang drops the parameter and leaves the name.
	require_config CONFIG_CC_IS_GCC
	load_mod trouble_target
	typed "grep sum $TROUBLE"
	refused insmod trouble_specialised.ko
	typed "awk '/ trouble_sum/ { print \$2, \$3, \$4 }' /proc/kallsyms"
	load_lp trouble_copy
	typed "grep sum $TROUBLE"
	disable_lp trouble_copy
	unload_mod trouble_copy
	check_transcript trouble-function-specialised trouble_specialised trouble_copy
}
# ANCHOR_END: specialised

# ANCHOR: busy
refused_busy()
{
	load_mod rules_target
	park
	load_lp_nowait rules_all
	expect_stalled rules_all
	log_mark
	typed "grep -l 1 $KLP_SYSFS/*/transition"
	refused insmod rules_subset_0.ko
	check_transcript trouble-refused-busy rules_subset_0
	unpark
	wait_transition rules_all
	load_lp rules_subset_0
	disable_lp rules_subset_0
	disable_lp rules_all
}
# ANCHOR_END: busy

# ANCHOR: loaded
refused_loaded()
{
	load_lp rules_all
	disable_lp rules_all
	wait_for file_is /sys/module/rules_all/refcnt 0
	log_mark
	refused cat "$KLP_SYSFS/rules_all/enabled"
	refused insmod rules_all.ko
	typed "cut -d' ' -f1,3 /proc/modules | grep rules_all"
	unload_mod rules_all
	load_lp rules_all
	check_transcript trouble-refused-loaded rules_all
	disable_lp rules_all
	unload_mod rules_all
}
# ANCHOR_END: loaded

# ANCHOR: pre-patch
refused_pre_patch()
{
	uid_65534
	log_mark
	refused insmod rules_all.ko fail=vmlinux errno=19
	check_transcript trouble-refused-pre-patch rules_all
}
# ANCHOR_END: pre-patch

# ANCHOR: format
refused_format()
{
	local ko=$KLP_TMP/trouble_inlined.ko

	# As if it had been built for another kernel.
	sed 's/vermagic=[0-9]*\./vermagic=2./' "$(find_ko trouble_inlined)" > "$ko"
	expect_fail ENOEXEC insmod "$ko"
	expect_log trouble_inlined <<-EOF
		~ trouble_inlined: version magic '2\..*' should be '$(uname -r | sed 's/[.+]/\\&/g') .*'
	EOF
}
# ANCHOR_END: format

# ANCHOR: unmarked
refused_unmarked()
{
	refused insmod trouble_not_marked.ko
	check_transcript trouble-refused-unmarked trouble_not_marked
}
# ANCHOR_END: unmarked

# ANCHOR: untraced
refused_untraced()
{
	load_mod trouble_target
	log_mark
	refused insmod trouble_notrace.ko
	check_transcript trouble-refused-untraced trouble_notrace
}
# ANCHOR_END: untraced

# ANCHOR: state
refused_state()
{
	load_lp test_klp_state2
	log_mark
	refused insmod test_klp_state.ko
	check_transcript trouble-refused-state test_klp_state
	disable_lp test_klp_state2
	unload_mod test_klp_state2
}
# ANCHOR_END: state

# ANCHOR: target
refused_target()
{
	uid_65534
	log_mark
	load_lp rules_all fail=rules_target errno=16
	refused insmod rules_target.ko
	disable_lp rules_all
	unload_mod rules_all
	# What cannot be looked up in a module that is not there is not looked up.
	load_lp trouble_gone
	refused insmod trouble_target.ko
	disable_lp trouble_gone
	unload_mod trouble_gone
	load_mod trouble_target
	check_transcript trouble-refused-target rules_all rules_target trouble_gone trouble_target
}
# ANCHOR_END: target

# ANCHOR: unload
refused_unload()
{
	load_mod rules_target
	load_lp rules_all
	park
	log_mark
	refused rmmod rules_all
	write_file "$KLP_SYSFS/rules_all/enabled" 0
	expect_stalled rules_all
	refused rmmod rules_all
	typed "cat /sys/module/rules_all/refcnt"
	unpark
	wait_for test ! -e "$KLP_SYSFS/rules_all"
	wait_for file_is /sys/module/rules_all/refcnt 0
	unload_mod rules_all
	check_transcript trouble-refused-unload rules_all
}
# ANCHOR_END: unload

# ANCHOR: pinned
pinned_by_force()
{
	uid_65534
	load_mod rules_target
	load_lp rules_all
	park
	log_mark
	write_file "$KLP_SYSFS/rules_all/enabled" 0
	expect_stalled rules_all
	may_stay rules_all
	write_file "$KLP_SYSFS/rules_all/force" 1
	wait_for test ! -e "$KLP_SYSFS/rules_all" || fail "it does not get disabled"
	refused rmmod rules_all
	refused cat "$KLP_SYSFS/rules_all/enabled"
	typed "cat /sys/module/rules_all/refcnt"
	typed "ls /sys/module/rules_all/holders | wc -l"
	unpark
	# Nobody is in it any more, and it stays: nobody can know.
	sleep 3
	refused rmmod rules_all
	refused insmod rules_all.ko
	check_transcript trouble-pinned-by-force rules_all
	expect_eq "answer of the task" 19 "$ANSWERED"
	unload_mod rules_target
}
# ANCHOR_END: pinned

ktap_case "a transition that never ends: who holds it up, and how to take it back" transition_never_ends
ktap_case "a transition that never ends: the core names the function" transition_debug
ktap_case "a transition that never ends: killing the task ends it" transition_kill
ktap_case "symbol not found: no such function, or in another object" symbol_not_found
ktap_case "unresolvable ambiguity: two functions of one name" symbol_ambiguous
ktap_case "patched and without effect: the function was inlined" function_inlined
ktap_case "symbol not found: the function was specialised" function_specialised
ktap_case "refused with EBUSY: another livepatch is in transition" refused_busy
ktap_case "refused with EEXIST: disabled, but still loaded" refused_loaded
ktap_case "refused by pre_patch" refused_pre_patch
ktap_case "refused with ENOEXEC: built for another kernel" refused_format
ktap_case "refused with EINVAL: not marked as a livepatch" refused_unmarked
ktap_case "refused with EINVAL: a function that ftrace does not reach" refused_untraced
ktap_case "refused with EINVAL: an older version of a state" refused_state
ktap_case "the target is refused: by pre_patch, or for a function it does not have" refused_target
ktap_case "Module is in use: the livepatch is enabled, or on its way out" refused_unload
# Last, because the module stays.
ktap_case "Module is in use for ever: its transition was forced" pinned_by_force
ktap_finish

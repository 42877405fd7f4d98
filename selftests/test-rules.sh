#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The rules of livepatch callbacks, each one a case on the running kernel. A case is named after its rule; forced
# transitions, after which a module stays for ever, are in test-rules-forced.sh.
#
# xtask: modules=selftests

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/rules.sh"

rules_needs rules_all rules_next rules_other rules_target rules_subset_{0..4} test_klp_tail_call test_klp_syscall
ktap_plan 24

# ANCHOR: r1
r1_order()
{
	uid_65534
	load_targets
	log_mark
	load_lp rules_all
	expect_file "$UID_FILE" 60001
	expect_file "$ANSWER" 11
	disable_lp rules_all
	expect_file "$UID_FILE" 65534
	expect_file "$ANSWER" 0
	expect_log rules_all livepatch <<-'EOF'
		rules_all: init
		livepatch: enabling patch 'rules_all'
		livepatch: 'rules_all': initializing patching transition
		rules_all: pre_patch: vmlinux
		rules_all: pre_patch: rules_target: Live
		rules_all: pre_patch: rules_other: Live
		livepatch: 'rules_all': starting patching transition
		livepatch: 'rules_all': completing patching transition
		rules_all: post_patch: vmlinux
		rules_all: post_patch: rules_target: Live
		rules_all: post_patch: rules_other: Live
		livepatch: 'rules_all': patching complete
		livepatch: 'rules_all': initializing unpatching transition
		rules_all: pre_unpatch: vmlinux
		rules_all: pre_unpatch: rules_target: Live
		rules_all: pre_unpatch: rules_other: Live
		livepatch: 'rules_all': starting unpatching transition
		livepatch: 'rules_all': completing unpatching transition
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
		rules_all: post_unpatch: rules_target: Live
		rules_all: freed: rules_target
		rules_all: post_unpatch: rules_other: Live
		livepatch: 'rules_all': unpatching complete
	EOF
}
# ANCHOR_END: r1

# With a task parked, the moments are seen apart: before, between, after.
r1_around()
{
	uid_65534
	load_targets
	park
	load_lp_nowait rules_all
	expect_stalled rules_all
	expect_log rules_all <<-'EOF'
		rules_all: init
		rules_all: pre_patch: vmlinux
		rules_all: pre_patch: rules_target: Live
		rules_all: pre_patch: rules_other: Live
	EOF
	log_mark
	unpark
	expect_eq "answer of the task that came before" 0 "$ANSWERED"
	wait_transition rules_all
	expect_log rules_all <<-'EOF'
		rules_all: post_patch: vmlinux
		rules_all: post_patch: rules_target: Live
		rules_all: post_patch: rules_other: Live
	EOF
	log_mark
	park
	write_file "$KLP_SYSFS/rules_all/enabled" 0
	expect_stalled rules_all
	expect_log rules_all <<-'EOF'
		rules_all: pre_unpatch: vmlinux
		rules_all: pre_unpatch: rules_target: Live
		rules_all: pre_unpatch: rules_other: Live
	EOF
	log_mark
	unpark
	expect_eq "answer of the task that came before" 11 "$ANSWERED"
	wait_for test ! -e "$KLP_SYSFS/rules_all"
	expect_log rules_all <<-'EOF'
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
		rules_all: post_unpatch: rules_target: Live
		rules_all: freed: rules_target
		rules_all: post_unpatch: rules_other: Live
	EOF
}

# ANCHOR: r2
# Object I of rules_subset_N has the callbacks whose bits are set in 3N + I: see modules/subset.rs.
r2_subsets()
{
	local n bit i object wanted callbacks=(pre_patch post_patch pre_unpatch post_unpatch)

	load_targets
	for n in 0 1 2 3 4; do
		log_mark
		load_lp "rules_subset_$n"
		disable_lp "rules_subset_$n"
		unload_mod "rules_subset_$n"
		wanted=
		for bit in 0 1 2 3; do
			i=0
			for object in vmlinux rules_target rules_other; do
				if (((3 * n + i) >> bit & 1)); then
					wanted+="rules_subset_$n: ${callbacks[bit]}: $object"$'\n'
				fi
				i=$((i + 1))
			done
		done
		expect_log "rules_subset_$n" <<< "$wanted"
	done
}
# ANCHOR_END: r2

# The same, when the targets come and go under the patch.
r2_subsets_later()
{
	local n bit object i wanted callbacks=(pre_patch post_patch pre_unpatch post_unpatch)

	for n in 0 1 2 3 4; do
		load_lp "rules_subset_$n"
		log_mark
		load_targets
		unload_mod rules_other
		unload_mod rules_target
		wanted=
		for bit in "1 0" "2 0" "2 2" "1 2"; do
			i=${bit% *}
			object=rules_target
			if [ "$i" -eq 2 ]; then
				object=rules_other
			fi
			bit=${bit#* }
			if (((3 * n + i) >> bit & 1)); then
				wanted+="rules_subset_$n: ${callbacks[bit]}: $object"$'\n'
			fi
			if (((3 * n + i) >> (bit + 1) & 1)); then
				wanted+="rules_subset_$n: ${callbacks[bit + 1]}: $object"$'\n'
			fi
		done
		expect_log "rules_subset_$n" <<< "$wanted"
		disable_lp "rules_subset_$n"
		unload_mod "rules_subset_$n"
	done
}

# ANCHOR: r3
# It came and went while the transition was held up: its post_patch never ran.
r3_symmetry()
{
	load_mod rules_target
	park
	load_lp_nowait rules_all
	log_mark
	load_mod rules_other
	unload_mod rules_other
	expect_log rules_all <<-'EOF'
		rules_all: pre_patch: rules_other: Coming
		rules_all: post_unpatch: rules_other: Going
	EOF
	unpark
	wait_transition rules_all
}
# ANCHOR_END: r3

# ANCHOR: r3-unpatching
# The other way about: patched while the livepatch is being disabled.
r3_symmetry_unpatching()
{
	load_mod rules_target
	load_lp rules_all
	park
	write_file "$KLP_SYSFS/rules_all/enabled" 0
	log_mark
	load_mod rules_other
	unpark
	wait_for test ! -e "$KLP_SYSFS/rules_all"
	expect_log rules_all <<-'EOF'
		rules_all: pre_patch: rules_other: Coming
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
		rules_all: post_unpatch: rules_target: Live
		rules_all: freed: rules_target
		rules_all: post_unpatch: rules_other: Live
	EOF
}
# ANCHOR_END: r3-unpatching

# ANCHOR: r4
r4_loaded()
{
	load_lp rules_all
	disable_lp rules_all
	unload_mod rules_all
	expect_log rules_all <<-'EOF'
		rules_all: init
		rules_all: pre_patch: vmlinux
		rules_all: post_patch: vmlinux
		rules_all: pre_unpatch: vmlinux
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
		rules_all: exit
	EOF
	log_mark
	load_mod rules_other
	load_lp rules_all
	disable_lp rules_all
	expect_log rules_all <<-'EOF'
		rules_all: init
		rules_all: pre_patch: vmlinux
		rules_all: pre_patch: rules_other: Live
		rules_all: post_patch: vmlinux
		rules_all: post_patch: rules_other: Live
		rules_all: pre_unpatch: vmlinux
		rules_all: pre_unpatch: rules_other: Live
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
		rules_all: post_unpatch: rules_other: Live
	EOF
}
# ANCHOR_END: r4

# ANCHOR: r5
r5_later()
{
	load_lp rules_all
	log_mark
	load_targets
	expect_file "$ANSWER" 11
	expect_log rules_all rules_target rules_other <<-'EOF'
		rules_all: pre_patch: rules_target: Coming
		rules_all: post_patch: rules_target: Coming
		rules_target: init
		rules_all: pre_patch: rules_other: Coming
		rules_all: post_patch: rules_other: Coming
		rules_other: init
	EOF
}
# ANCHOR_END: r5

# ANCHOR: r6
r6_unloaded()
{
	local _

	uid_65534
	load_targets
	load_lp rules_all
	log_mark
	unload_mod rules_other
	expect_file "$ANSWER" 11
	unload_mod rules_target
	expect_file "$UID_FILE" 60001
	expect_file "$KLP_SYSFS/rules_all/enabled" 1
	expect_log rules_all rules_target rules_other <<-'EOF'
		rules_other: exit
		rules_all: pre_unpatch: rules_other: Going
		rules_all: post_unpatch: rules_other: Going
		rules_target: exit
		rules_all: pre_unpatch: rules_target: Going
		rules_all: post_unpatch: rules_target: Going
		rules_all: freed: rules_target
	EOF
	# As often as it likes, and with a state of its own each time.
	for _ in 1 2 3; do
		load_mod rules_target
		expect_file "$ANSWER" 11
		unload_mod rules_target
	done
	log_mark
	disable_lp rules_all
	expect_log rules_all <<-'EOF'
		rules_all: pre_unpatch: vmlinux
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
	EOF
}
# ANCHOR_END: r6

# ANCHOR: r7
r7_refused()
{
	local object nr name

	uid_65534
	load_targets
	while read -r object nr name; do
		log_mark
		load_fails "$name" rules_all "fail=$object" "errno=$nr"
		log_has "pre_patch: $object: fails with $nr" || fail "$object did not fail"
		log_has "livepatch: pre-patch callback failed for object '$object'" || fail "the core does not say so"
		expect_file "$UID_FILE" 65534
		expect_file "$ANSWER" 0
	done <<-'EOF'
		vmlinux 12 ENOMEM
		rules_target 16 EBUSY
		rules_other 95 EOPNOTSUPP
	EOF
	# The next correct step works.
	load_lp rules_all
	expect_file "$ANSWER" 11
}
# ANCHOR_END: r7

# ANCHOR: r8
r8_target_refused()
{
	local nr name

	uid_65534
	load_lp rules_all
	set_param rules_all fail rules_target
	while read -r nr name; do
		log_mark
		set_param rules_all errno "$nr"
		expect_fail "$name" insmod "$(find_ko rules_target)"
		[ ! -d /sys/module/rules_target ] || fail "rules_target is loaded"
		[ ! -e "$ANSWER" ] || fail "the init of rules_target ran"
		expect_file "$KLP_SYSFS/rules_all/enabled" 1
		expect_patched rules_all vmlinux=1 rules_target=0
		expect_file "$UID_FILE" 60001
	done <<-'EOF'
		16 EBUSY
		17 EEXIST
		95 EOPNOTSUPP
	EOF
	# Others are served as before, and the target itself as soon as nothing speaks against it.
	load_mod rules_other
	expect_patched rules_all vmlinux=1 rules_target=0 rules_other=1
	set_param rules_all fail none
	load_mod rules_target
	expect_patched rules_all vmlinux=1 rules_target=1 rules_other=1
	expect_file "$ANSWER" 11
}
# ANCHOR_END: r8

# ANCHOR: r9
r9_no_more()
{
	load_targets
	load_fails ENODEV rules_all fail=vmlinux
	expect_log rules_all <<-'EOF'
		rules_all: init
		rules_all: pre_patch: vmlinux: fails with 19
		rules_all: exit
	EOF
}
# ANCHOR_END: r9

r9_target_no_more()
{
	load_lp rules_all fail=rules_target
	log_mark
	expect_fail ENODEV insmod "$(find_ko rules_target)"
	disable_lp rules_all
	expect_log rules_all <<-'EOF'
		rules_all: pre_patch: rules_target: fails with 19
		rules_all: pre_unpatch: vmlinux
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
	EOF
}

# ANCHOR: r10
r10_reversed()
{
	uid_65534
	load_targets
	park
	load_lp_nowait rules_all
	expect_stalled rules_all
	expect_file "$UID_FILE" 60001
	log_mark
	disable_lp rules_all
	expect_file "$UID_FILE" 65534
	expect_log rules_all livepatch <<-'EOF'
		livepatch: 'rules_all': reversing transition from patching to unpatching
		livepatch: 'rules_all': starting unpatching transition
		livepatch: 'rules_all': completing unpatching transition
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
		rules_all: post_unpatch: rules_target: Live
		rules_all: freed: rules_target
		rules_all: post_unpatch: rules_other: Live
		livepatch: 'rules_all': unpatching complete
	EOF
	unpark
	expect_eq "answer of the parked task" 0 "$ANSWERED"
	expect_file "$ANSWER" 0
}
# ANCHOR_END: r10

# ANCHOR: r11
r11_earlier()
{
	uid_65534
	load_targets
	log_mark
	load_fails EBUSY rules_all fail=rules_target errno=16
	expect_file "$UID_FILE" 65534
	expect_log rules_all <<-'EOF'
		rules_all: init
		rules_all: pre_patch: vmlinux
		rules_all: pre_patch: rules_target: fails with 16
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
		rules_all: exit
	EOF
	log_mark
	load_fails EBUSY rules_all fail=rules_other errno=16
	expect_file "$UID_FILE" 65534
	expect_file "$ANSWER" 0
	expect_log rules_all <<-'EOF'
		rules_all: init
		rules_all: pre_patch: vmlinux
		rules_all: pre_patch: rules_target: Live
		rules_all: pre_patch: rules_other: fails with 16
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
		rules_all: post_unpatch: rules_target: Live
		rules_all: freed: rules_target
		rules_all: exit
	EOF
}
# ANCHOR_END: r11

# Two livepatches on one target: the second says no, the first is taken back from the target, with both callbacks.
r11_two_patches()
{
	load_lp rules_subset_2
	load_lp rules_all fail=rules_other
	log_mark
	expect_fail ENODEV insmod "$(find_ko rules_other)"
	expect_file "$KLP_SYSFS/rules_subset_2/enabled" 1
	# rules_other is object 2 of module 2: subset 8, post_unpatch alone.
	expect_log rules_all rules_subset_2 <<-'EOF'
		rules_all: pre_patch: rules_other: fails with 19
		rules_subset_2: post_unpatch: rules_other
	EOF
	disable_lp rules_all
	disable_lp rules_subset_2
}

# ANCHOR: r12
r12_disabled()
{
	load_lp rules_all
	log_mark
	disable_lp rules_all
	wait_for file_is /sys/module/rules_all/refcnt 0
	expect_log rules_all <<-'EOF'
		rules_all: pre_unpatch: vmlinux
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
	EOF
	log_mark
	unload_mod rules_all
	expect_log rules_all <<-'EOF'
		rules_all: exit
	EOF
}
# ANCHOR_END: r12

# ANCHOR: r12-reversed
r12_reversed()
{
	load_mod rules_target
	park
	load_lp_nowait rules_all
	log_mark
	write_file "$KLP_SYSFS/rules_all/enabled" 0
	unpark
	wait_for test ! -e "$KLP_SYSFS/rules_all"
	wait_for file_is /sys/module/rules_all/refcnt 0
	expect_log rules_all <<-'EOF'
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
		rules_all: post_unpatch: rules_target: Live
		rules_all: freed: rules_target
	EOF
	[ -d /sys/module/rules_all ] || fail "the module is gone"
	unload_mod rules_all
	log_has '^rules_all: exit$' || fail "its exit did not run in the end"
}
# ANCHOR_END: r12-reversed

# ANCHOR: r13
r13_replaced()
{
	uid_65534
	load_mod rules_target
	load_lp rules_all
	expect_file "$ANSWER" 11
	log_mark
	load_lp rules_next
	wait_for test ! -e "$KLP_SYSFS/rules_all" || fail "rules_all was not replaced"
	wait_for file_is /sys/module/rules_all/refcnt 0
	expect_file "$ANSWER" 22
	expect_file "$UID_FILE" 60001
	expect_log rules_all rules_next <<-'EOF'
		rules_next: pre_patch: vmlinux
		rules_next: pre_patch: rules_target
		rules_next: post_patch: vmlinux
		rules_next: post_patch: rules_target
	EOF
	log_mark
	unload_mod rules_all
	expect_log rules_all <<-'EOF'
		rules_all: freed: vmlinux
		rules_all: freed: rules_target
		rules_all: exit
	EOF
	expect_file "$UID_FILE" 60001
	log_mark
	disable_lp rules_next
	expect_file "$ANSWER" 0
	expect_file "$UID_FILE" 60001
	expect_log rules_all rules_next <<-'EOF'
		rules_next: pre_unpatch: vmlinux
		rules_next: pre_unpatch: rules_target
		rules_next: post_unpatch: vmlinux
		rules_next: post_unpatch: rules_target
	EOF
}
# ANCHOR_END: r13

# Files and parameters of a replaced livepatch stay as long as its module. Who has opened one reads nothing from then on.
r13_files()
{
	local file=/sys/kernel/test_klp_syscall/npids param=/sys/module/rules_all/parameters/errno mod of_file of_param

	uid_65534
	load_lp test_klp_syscall
	load_lp rules_all
	exec {of_file}<"$file" {of_param}<"$param"
	load_lp rules_next
	for mod in test_klp_syscall rules_all; do
		wait_for test ! -e "$KLP_SYSFS/$mod" || fail "$mod was not replaced"
	done
	expect_file "$file" 0
	expect_file "$param" 19
	unload_mod test_klp_syscall
	unload_mod rules_all
	[ ! -e "${file%/*}" ] || fail "the folder of test_klp_syscall is still there"
	[ ! -e "$param" ] || fail "the parameters of rules_all are still there"
	expect_fail ENODEV cat <&"$of_file"
	expect_fail ENODEV cat <&"$of_param"
	disable_lp rules_next
}

# A successor that is taken back before it has replaced anything leaves the old patch as it was.
r13_reversed()
{
	uid_65534
	load_mod rules_target
	load_lp rules_all
	park
	log_mark
	load_lp_nowait rules_next
	expect_stalled rules_next
	disable_lp rules_next
	unpark
	expect_eq "answer of the parked task" 11 "$ANSWERED"
	expect_file "$ANSWER" 11
	expect_file "$UID_FILE" 60001
	expect_file "$KLP_SYSFS/rules_all/enabled" 1
	expect_log rules_all rules_next <<-'EOF'
		rules_next: pre_patch: vmlinux
		rules_next: pre_patch: rules_target
		rules_next: post_unpatch: vmlinux
		rules_next: post_unpatch: rules_target
	EOF
	disable_lp rules_all
	expect_file "$UID_FILE" 65534
}

# ANCHOR: r14
r14_reversed()
{
	uid_65534
	load_mod rules_target
	load_lp rules_all
	park
	log_mark
	write_file "$KLP_SYSFS/rules_all/enabled" 0
	expect_stalled rules_all
	write_file "$KLP_SYSFS/rules_all/enabled" 1
	wait_transition rules_all
	expect_log rules_all livepatch <<-'EOF'
		livepatch: 'rules_all': initializing unpatching transition
		rules_all: pre_unpatch: vmlinux
		rules_all: pre_unpatch: rules_target: Live
		livepatch: 'rules_all': starting unpatching transition
		livepatch: 'rules_all': reversing transition from unpatching to patching
		livepatch: 'rules_all': starting patching transition
		livepatch: 'rules_all': completing patching transition
		rules_all: post_patch: vmlinux
		rules_all: post_patch: rules_target: Live
		livepatch: 'rules_all': patching complete
	EOF
	# The state was there all the time, and still is.
	unpark
	expect_eq "answer of the parked task" 11 "$ANSWERED"
	expect_file "$ANSWER" 11
	expect_file "$UID_FILE" 60001
	log_mark
	disable_lp rules_all
	expect_file "$UID_FILE" 65534
	expect_log rules_all <<-'EOF'
		rules_all: pre_unpatch: vmlinux
		rules_all: pre_unpatch: rules_target: Live
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
		rules_all: post_unpatch: rules_target: Live
		rules_all: freed: rules_target
	EOF
}
# ANCHOR_END: r14

# Three turns, then the end that was wanted last.
r14_to_and_fro()
{
	local enabled=$KLP_SYSFS/rules_all/enabled

	uid_65534
	load_mod rules_target
	load_lp rules_all
	park
	log_mark
	write_file "$enabled" 0
	expect_stalled rules_all
	write_file "$enabled" 1
	wait_transition rules_all
	write_file "$enabled" 0
	expect_stalled rules_all
	unpark
	expect_eq "answer of the parked task" 11 "$ANSWERED"
	wait_for test ! -e "$KLP_SYSFS/rules_all"
	expect_file "$UID_FILE" 65534
	expect_file "$ANSWER" 0
	expect_log rules_all <<-'EOF'
		rules_all: pre_unpatch: vmlinux
		rules_all: pre_unpatch: rules_target: Live
		rules_all: post_patch: vmlinux
		rules_all: post_patch: rules_target: Live
		rules_all: pre_unpatch: vmlinux
		rules_all: pre_unpatch: rules_target: Live
		rules_all: post_unpatch: vmlinux
		rules_all: freed: vmlinux
		rules_all: post_unpatch: rules_target: Live
		rules_all: freed: rules_target
	EOF
}

# As a jump it would leave no trace: the transition would end at once, and rmmod take the module from under the task.
tail_call()
{
	load_mod rules_target
	load_lp test_klp_tail_call
	park
	write_file "$KLP_SYSFS/test_klp_tail_call/enabled" 0
	expect_stalled test_klp_tail_call
	grep -q 'livepatch\.rules_target\.rules_target_enter+.* \[test_klp_tail_call\]' "/proc/$PARKED/stack" ||
		fail "$(cat "/proc/$PARKED/stack")"
	unpark
	expect_eq "answer of the parked task" 7 "$ANSWERED"
	wait_for test ! -e "$KLP_SYSFS/test_klp_tail_call"
	unload_mod test_klp_tail_call
	unload_mod rules_target
}

ktap_case "R1: the four callbacks run at their four moments" r1_order
ktap_case "R1: pre_ callbacks run before the transition, post_ callbacks after it" r1_around
ktap_case "R2: with any subset of callbacks left out the others run as before" r2_subsets
ktap_case "R2: the same for targets that come and go" r2_subsets_later
ktap_case "R3: a target that leaves before its post_patch gets no pre_unpatch" r3_symmetry
ktap_case "R3: a target that comes during unpatching gets no pre_unpatch" r3_symmetry_unpatching
ktap_case "R4: vmlinux has its callbacks always, a module only while it is loaded" r4_loaded
ktap_case "R5: a target that comes later has its patch callbacks before its init" r5_later
ktap_case "R6: a target that goes has its unpatch callbacks, and only its own" r6_unloaded
ktap_case "R7: a failing pre_patch refuses the livepatch with that errno" r7_refused
ktap_case "R8: a failing pre_patch refuses the target with that errno, the livepatch stays" r8_target_refused
ktap_case "R9: after a failed pre_patch no other callback of the object runs" r9_no_more
ktap_case "R9: the same for a target, also when the livepatch is disabled" r9_target_no_more
ktap_case "R10: a reversed patching transition runs post_unpatch, and no pre_unpatch" r10_reversed
ktap_case "R11: objects before the one that failed get post_unpatch alone" r11_earlier
ktap_case "R11: a refused target is taken back from the other livepatches" r11_two_patches
ktap_case "R12: disabling runs the callbacks, not the module's exit" r12_disabled
ktap_case "R12: reversing runs the callbacks, not the module's init or exit" r12_reversed
ktap_case "R13: when replaced, no callback of the old patch runs, its state is freed, not reverted" r13_replaced
ktap_case "R13: files and parameters of a replaced livepatch go with its module" r13_files
ktap_case "R13: a replacement that is reversed leaves the old patch as it was" r13_reversed
ktap_case "R14: a reversed unpatching transition runs post_patch again and keeps the state" r14_reversed
ktap_case "a replacement that ends in a call of a function that sleeps stays on the stack" tail_call
ktap_case "R14: unpatching that is reversed and asked for again ends well" r14_to_and_fro
ktap_finish

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Sentences of the book that are no rule of the kernel's page: what a reader would believe otherwise, and what is true.
#
# The orders of callbacks are in test-claims-orders.sh, and what nobody survives in test-claims-panic.sh,
# test-claims-flush.sh and test-claims-init.sh.
#
# xtask: modules=claims,kernel-samples,selftests

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/rules.sh"
. "$KLP_DIR/lock_order.sh"

rules_needs rules_all rules_next rules_other rules_target
require_ko claims_{build_id,calls,named,state,target} livepatch_sample test_klp_kprobe
ktap_plan 17

# ANCHOR: reversal
# Who has moved already, and sleeps in the new function, holds the way back up.
reversal_waits()
{
	local old

	load_mod rules_target
	park
	old=$PARKED
	load_lp_nowait rules_all
	expect_stalled rules_all
	# A second reader, who comes by the new function.
	wait_for file_is "/proc/$BASHPID/patch_state" 1
	park
	log_mark
	write_file "$KLP_SYSFS/rules_all/enabled" 0
	expect_stalled rules_all
	expect_file "/proc/$old/patch_state" 0
	expect_file "/proc/$PARKED/patch_state" 1
	unpark
	wait_for test ! -e "$KLP_SYSFS/rules_all" || fail "the way back does not end"
	wait "$old"
	expect_no_log 'pre_unpatch'
}
# ANCHOR_END: reversal

# ANCHOR: failed-load
# A parameter is wrong: the target was patched already, and is unpatched again, without its init or exit.
load_fails_later()
{
	load_lp rules_all
	log_mark
	load_fails EINVAL rules_target open=perhaps
	expect_log rules_all rules_target <<-'EOF'
		rules_all: pre_patch: rules_target: Coming
		rules_all: post_patch: rules_target: Coming
		~ rules_target: .open.: .*|rules_target: `perhaps' invalid for parameter `open'
		rules_all: pre_unpatch: rules_target: Going
		rules_all: post_unpatch: rules_target: Going
		rules_all: freed: rules_target
	EOF
}
# ANCHOR_END: failed-load

# ANCHOR: replace-target
# While rules_next replaces rules_all, a target that comes and goes still has the callbacks of rules_all.
replaced_still_serves()
{
	load_mod rules_target
	load_lp rules_all
	park
	load_lp_nowait rules_next
	expect_stalled rules_next
	log_mark
	load_mod rules_other
	unload_mod rules_other
	expect_log rules_all rules_next rules_other <<-'EOF'
		rules_all: pre_patch: rules_other: Coming
		rules_all: post_patch: rules_other: Coming
		rules_other: init
		rules_other: exit
		rules_all: pre_unpatch: rules_other: Going
		rules_all: post_unpatch: rules_other: Going
	EOF
	unpark
	wait_transition rules_next
}
# ANCHOR_END: replace-target

# ANCHOR: late-post-patch
# A target that comes during patching: its post_patch runs at the end of the transition, after its init, by a kworker.
late_post_patch()
{
	load_mod rules_target
	park
	load_lp_nowait rules_all
	expect_stalled rules_all
	log_mark
	load_mod rules_other
	unpark
	wait_transition rules_all
	expect_log rules_all rules_other <<-'EOF'
		rules_all: pre_patch: rules_other: Coming
		rules_other: init
		rules_all: post_patch: vmlinux
		rules_all: post_patch: rules_target: Live
		rules_all: post_patch: rules_other: Live
	EOF
	disable_lp rules_all
}
# ANCHOR_END: late-post-patch

# ANCHOR: ftrace-off
# EBUSY is not always another transition: ftrace is switched off. From Linux 7.3 on nobody can do that.
ftrace_off()
{
	save_sysctl kernel.ftrace_enabled
	load_mod rules_target
	if ! run sysctl -q -w kernel.ftrace_enabled=0; then
		expect_fail EOPNOTSUPP write_file /proc/sys/kernel/ftrace_enabled 0
		load_lp rules_all
		disable_lp rules_all
		return
	fi
	load_fails EBUSY rules_all
	log_has "livepatch: failed to register ftrace handler for function 'rules_target_enter' \(-16\)" ||
		fail "the log does not name the function"
}
# ANCHOR_END: ftrace-off

# ANCHOR: probes
# One user of ftrace changes where a function goes on: a livepatch, or a kprobe with a post_handler, whoever comes first. A
# kretprobe is none of them.
probes()
{
	local tracing=/sys/kernel/tracing list=/sys/kernel/debug/kprobes/list hits

	require_config CONFIG_KPROBES_ON_FTRACE
	require_file "$tracing/kprobe_events" "$list"
	load_mod test_klp_kprobe has_post_handler=Y
	grep -q ' cmdline_proc_show+' "$list" || fail "the probe is not armed"
	load_fails EBUSY livepatch_sample
	log_has "livepatch: failed to register ftrace handler for function 'cmdline_proc_show' \(-16\)" ||
		fail "the log does not name the function"
	unload_mod test_klp_kprobe
	load_lp livepatch_sample
	# register_kprobe() returns 0, and there is no probe.
	load_mod test_klp_kprobe has_post_handler=Y
	! grep ' cmdline_proc_show+' "$list" || fail "the probe is armed"
	unload_mod test_klp_kprobe
	disable_lp livepatch_sample
	unload_mod livepatch_sample

	on_exit restore_file "$tracing/kprobe_events" ''
	write_file "$tracing/kprobe_events" 'r:claims_return cmdline_proc_show'
	on_exit restore_file "$tracing/events/kprobes/claims_return/enable" 0
	write_file "$tracing/events/kprobes/claims_return/enable" 1
	load_lp livepatch_sample
	expect_file /proc/cmdline "this has been live patched"
	read -r _ hits _ < "$tracing/kprobe_profile"
	[ "$hits" -gt 0 ] || fail "the kretprobe sees nothing"
	disable_lp livepatch_sample
}
# ANCHOR_END: probes

# ANCHOR: ia32
# getpgid() and getppid() are replaced by a function that answers 42. A program that calls the first one the 32-bit way
# comes by another entry. The second one has no arguments: two names, and one function.
two_entries()
{
	require_config CONFIG_IA32_EMULATION
	require_command python3
	load_lp claims_calls
	python3 - > "$KLP_TMP/answers" <<-'EOF'
		import ctypes, mmap, os

		def int80(number):
		    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
		    # push %rbx; xor %ebx, %ebx; mov $number, %eax; int $0x80; pop %rbx; ret
		    code.write(bytes([0x53, 0x31, 0xdb, 0xb8, number, 0, 0, 0, 0xcd, 0x80, 0x5b, 0xc3]))
		    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()

		print(os.getpgid(0), int80(132) == os.getpgrp())
		print(os.getppid(), int80(64))
	EOF
	expect_file "$KLP_TMP/answers" $'42 True\n42 42'
	disable_lp claims_calls
}
# ANCHOR_END: ia32

# ANCHOR: eexist
# A target that pre_patch refuses by EEXIST is not there, and modprobe calls that a success.
eexist_is_success()
{
	load_lp rules_all
	set_param rules_all fail rules_target
	set_param rules_all errno 17
	unload_later rules_target
	run modprobe "$(find_ko rules_target)"
	[ ! -d /sys/module/rules_target ] || fail "rules_target is loaded"
	set_param rules_all errno 16
	expect_fail EBUSY modprobe "$(find_ko rules_target)"
}
# ANCHOR_END: eexist

# ANCHOR: fake-signal
# After 15 s the core wakes who sleeps in a function that is patched. A read starts again, in the new function, and its
# program notices nothing; epoll_wait() returns EINTR to its program, which has had no signal.
fake_signal()
{
	local reader waiter

	require_command python3
	load_mod claims_target wait_in=read
	on_exit restore_file /sys/module/claims_target/parameters/wait_in none
	cat /proc/claims_target > "$KLP_TMP/read" &
	reader=$!
	python3 - > "$KLP_TMP/waited" <<-'EOF' &
		import ctypes, errno, select

		libc = ctypes.CDLL(None, use_errno=True)
		poll = select.epoll()
		got = libc.epoll_wait(poll.fileno(), ctypes.create_string_buffer(12), 1, -1)
		print(got, errno.errorcode[ctypes.get_errno()])
	EOF
	waiter=$!
	wait_for stack_has "$reader" claims_sleep
	wait_for stack_has "$waiter" '__(x64|arm64)_sys_epoll_p?wait'
	load_lp claims_calls
	wait "$reader" "$waiter"
	log_has '^livepatch: signaling remaining tasks$' || fail "the transition ended without a signal"
	expect_file "$KLP_TMP/waited" "-1 EINTR"
	has_line "$KLP_TMP/read" "sleep 42" || fail "the read says: $(cat "$KLP_TMP/read")"
	disable_lp claims_calls
}
# ANCHOR_END: fake-signal

# ANCHOR: own-state
# A target comes while another livepatch is in transition: the "previous" state is this livepatch's own, and is lost.
own_state()
{
	load_mod rules_target
	load_lp claims_state
	load_lp rules_all
	park
	write_file "$KLP_SYSFS/rules_all/enabled" 0
	expect_stalled rules_all
	log_mark
	load_mod rules_other
	unpark
	wait_for test ! -e "$KLP_SYSFS/rules_all"
	disable_lp claims_state
	expect_log claims_state <<-'EOF'
		claims_state: pre_patch: rules_other: version 7 before
		claims_state: pre_patch: rules_other: took 5
		claims_state: post_unpatch: vmlinux: keeps nothing
	EOF
}
# ANCHOR_END: own-state

# ANCHOR: init-twin
# Two functions of one name, the first of which is gone when the init is over.
init_twin()
{
	# For a target that comes there are two of them.
	load_lp claims_named position=2
	load_mod claims_target
	has_line /proc/claims_target "twin 42" || fail "it is not patched"
	unload_mod claims_target
	disable_lp claims_named
	unload_mod claims_named
	load_lp claims_named
	expect_fail EINVAL insmod "$(find_ko claims_target)"
	log_has "livepatch: unresolvable ambiguity for symbol 'claims_twin' in object 'claims_target'" ||
		fail "refused for another reason"
	disable_lp claims_named
	unload_mod claims_named
	# For one that is there, only one.
	load_mod claims_target
	load_fails EINVAL claims_named position=2
	log_has "livepatch: symbol position 2 for symbol 'claims_twin' in object 'claims_target' not found" ||
		fail "refused for another reason"
	load_lp claims_named
	has_line /proc/claims_target "twin 42" || fail "it is not patched"
	disable_lp claims_named
}
# ANCHOR_END: init-twin

# ANCHOR: part
# A function that GCC has split: no name of it reaches both halves, and the plain one reaches none here.
split()
{
	local before

	load_mod claims_target
	grep -q 'claims_split\.part\.0' /proc/kallsyms || skip "this compiler has not split the function"
	before=$(grep split /proc/claims_target)
	load_lp claims_named function=claims_split
	has_line /proc/claims_target "$before" || fail "the callers have no copy: $(cat /proc/claims_target)"
	disable_lp claims_named
	unload_mod claims_named
	load_lp claims_named function=claims_split.part.0
	has_line /proc/claims_target "${before% *} 242" || fail "$(cat /proc/claims_target)"
	disable_lp claims_named
}
# ANCHOR_END: part

# ANCHOR: init-errors
# What refuses a livepatch is its own init: the loader sees what that returns, and EEXIST as EBUSY.
init_passes_on()
{
	load_mod claims_target
	load_fails EINVAL claims_named function=no_such_function
	load_mod claims_named function=no_such_function ignore=1
	[ ! -e "$KLP_SYSFS/claims_named" ] || fail "it is a livepatch"
	unload_mod claims_named
	load_fails EBUSY rules_all fail=vmlinux errno=17
}
# ANCHOR_END: init-errors

# ANCHOR: sysfs
# While rules_all is in transition, on top of rules_subset_0.
sysfs()
{
	local lp=$KLP_SYSFS/rules_all

	load_mod rules_target
	load_lp rules_subset_0
	expect_file "/proc/$BASHPID/patch_state" -1
	park
	load_lp_nowait rules_all
	expect_stalled rules_all
	expect_file "$lp/enabled" 1
	expect_file "$lp/replace" 0
	expect_file "$lp/stack_order" 2
	expect_file "$KLP_SYSFS/rules_subset_0/stack_order" 1
	expect_file "$KLP_SYSFS/rules_subset_0/transition" 0
	expect_patched rules_all vmlinux=1 rules_target=1 rules_other=0
	expect_file "/proc/$PARKED/patch_state" 0
	wait_for file_is "/proc/$BASHPID/patch_state" 1
	write_file "$lp/enabled" 0
	unpark
	wait_for test ! -e "$lp"
	load_lp rules_next
	expect_file "$KLP_SYSFS/rules_next/replace" 1
	disable_lp rules_next
}
# ANCHOR_END: sysfs

# ANCHOR: side-by-side
# One task sleeps in the old function and one in the new; each goes on in its own.
side_by_side()
{
	local old

	load_mod rules_target
	park
	old=$PARKED
	mv "$KLP_TMP/answer" "$KLP_TMP/answer-of-old"
	load_lp_nowait rules_all
	expect_stalled rules_all
	wait_for file_is "/proc/$BASHPID/patch_state" 1
	park
	unpark
	expect_eq "answer of the one that had moved" 11 "$ANSWERED"
	wait "$old"
	expect_file "$KLP_TMP/answer-of-old" 0
	wait_transition rules_all
	disable_lp rules_all
}
# ANCHOR_END: side-by-side

# ANCHOR: blacklist
# `blacklist` stops what asks by an alias, and `install` everything that goes by modprobe.
blacklist()
{
	require_module dummy
	[ ! -d /sys/module/dummy ] || skip "dummy is loaded"
	unload_later dummy
	echo "blacklist dummy" > "$KLP_TMP/modprobe.conf"
	run modprobe -C "$KLP_TMP/modprobe.conf" rtnl-link-dummy
	[ ! -d /sys/module/dummy ] || fail "the alias loads it"
	run modprobe -C "$KLP_TMP/modprobe.conf" dummy
	unload_mod dummy
	echo "install dummy /bin/false" > "$KLP_TMP/modprobe.conf"
	! run modprobe -C "$KLP_TMP/modprobe.conf" dummy || fail "it is loaded in spite of install"
}
# ANCHOR_END: blacklist

# ANCHOR: build-id
# A livepatch that names the build id of its kernel loads on that one, and on no other.
build_id()
{
	local notes id byte bytes=

	# A note: three words (length of the name, of the content, type 3), the name, the content.
	notes=$(od -An -v -tx1 /sys/kernel/notes | tr -d ' \n')
	[[ $notes =~ 040000001400000003000000474e5500([0-9a-f]{40}) ]] || fail "this kernel has no build id"
	id=${BASH_REMATCH[1]}
	for ((byte = 0; byte < 40; byte += 2)); do
		bytes+=$((16#${id:byte:2})),
	done
	bytes=${bytes%,}
	load_lp claims_build_id "id=$bytes"
	disable_lp claims_build_id
	unload_mod claims_build_id
	byte=$((16#${id:0:2} ^ 1))
	load_fails ENOEXEC claims_build_id "id=$byte,${bytes#*,}"
	log_has "^klp: built for the kernel [0-9a-f]{2}${id:2}, and this is $id\$" || fail "the log does not name both"
}
# ANCHOR_END: build-id

ktap_case "a reversal waits for whoever sleeps in the new function" reversal_waits
ktap_case "a target whose load fails after its pre_patch gets its unpatch callbacks, and no exit" load_fails_later
ktap_case "a replaced livepatch serves targets until the transition ends" replaced_still_serves
ktap_case "post_patch of a target that comes during patching runs after its init" late_post_patch
ktap_case "EBUSY: ftrace is switched off" ftrace_off
ktap_case "EBUSY: a kprobe has the function, and a kretprobe does not matter" probes
ktap_case "a fix of a system call is bypassed from 32 bit" two_entries
ktap_case "the fake signal restarts a read, and ends epoll_wait with EINTR" fake_signal
ktap_case "during another transition a callback finds its own state for the previous one" own_state
ktap_case "a function of __init counts for a position while the target comes" init_twin
ktap_case "a function that was split is reached by neither name alone" split
ktap_case "the init of a livepatch decides what the loader sees" init_passes_on
ktap_case "the files of a livepatch, while it is in transition" sysfs
ktap_case "old and new functions run side by side" side_by_side
ktap_case "blacklist stops aliases only" blacklist
ktap_case "a livepatch that names its kernel's build id is refused by others" build_id
ktap_case "EEXIST of a refused target is a success to modprobe" eexist_is_success
ktap_finish

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# samples/asm-trampoline: code that ftrace cannot reach is redirected to replacements, and
# klp::Redirect beneath it: what it refuses, and that nobody is lost when it comes and goes.
#
# Callers of what is patched run on two processors at once: that is the race.
#
# xtask: modules=asm-trampoline,naive-asm-trampoline,selftests clock=real cpus=2

. "$(dirname "$0")/functions.sh"

LP=asm_trampoline
NAIVE=naive_asm_trampoline
TARGET=asm_target
FILES=/sys/kernel/$TARGET
TEST=test_klp_redirect
TEST_TARGET=test_klp_redirect_target
NEXT=test_klp_atomic_replace
PARAMS=/sys/module/$TEST_TARGET/parameters
PROBES=/sys/kernel/debug/kprobes

require_command python3
require_config CONFIG_KPROBES=y
require_ko $TEST $TEST_TARGET ${TEST}_cost $NEXT
require_file $PROBES/list
# The sample, what only x86 can tell, and its optimised probes; all else is also test-redirect.sh.
sample=
if [ "${0##*/}" != test-redirect.sh ]; then
	sample=1
	require_config CONFIG_X86_MSR
	require_ko $LP asm_naive $NAIVE $TARGET
fi
ktap_plan $((sample ? 21 : 11))

# expect_answers CHECKSUM PERCENT: what the target's files say, also as lines of the transcript
expect_answers()
{
	(cd "$FILES" && show grep . checksum percent)
	expect_file "$FILES/checksum" "$1"
	expect_file "$FILES/percent" "$2"
}

WRONG=(0xb863 0)
RIGHT=(0xb861 75)

# ---- the sample ---------------------------------------------------------

# ANCHOR: refused
naive_is_refused()
{
	load_mod "$TARGET"
	load_fails EINVAL asm_naive
	expect_answers "${WRONG[@]}"
	unload_mod "$TARGET"
	expect_log livepatch <<-'EOF'
		livepatch: enabling patch 'asm_naive'
		livepatch: 'asm_naive': initializing patching transition
		livepatch: failed to find location for function 'asm_target_checksum'
		livepatch: failed to patch object 'asm_target'
		livepatch: failed to enable patch 'asm_naive'
		livepatch: 'asm_naive': canceling patching transition, going to unpatch
		livepatch: 'asm_naive': completing unpatching transition
		livepatch: 'asm_naive': unpatching complete
	EOF
}
# ANCHOR_END: refused

naive_keeps_target_out()
{
	load_lp asm_naive
	load_fails EINVAL "$TARGET"
	log_has "^livepatch: failed to find location for function 'asm_target_checksum'"
	log_has "^livepatch: patch 'asm_naive' failed for module 'asm_target', refusing to load"
	disable_lp asm_naive
	unload_mod asm_naive
}

# ANCHOR: naive
naive()
{
	load_mod "$TARGET"
	load_lp "$NAIVE"
	(cd "$FILES" && show grep -H . checksum)
	expect_file "$FILES/checksum" "${RIGHT[0]}"
	unload_mod "$TARGET"
	load_mod "$TARGET"
	(cd "$KLP_SYSFS/$NAIVE" && show grep -H . "$TARGET/patched")
	# So the core says, and it is not true.
	(cd "$FILES" && show grep -H . checksum)
	expect_file "$FILES/checksum" "${WRONG[0]}"
	disable_lp "$NAIVE"
	unload_mod "$NAIVE"
	unload_mod "$TARGET"
	check_transcript naive-asm-trampoline "$NAIVE"
}
# ANCHOR_END: naive

tells_its_story()
{
	load_mod "$TARGET"
	expect_answers "${WRONG[@]}"
	load_lp "$LP"
	expect_answers "${RIGHT[@]}"
	disable_lp "$LP"
	expect_answers "${WRONG[@]}"
	unload_mod "$LP"
	unload_mod "$TARGET"
	check_transcript asm-trampoline "$LP" klp
}

target_comes_later()
{
	load_lp "$LP"
	load_mod "$TARGET"
	expect_answers "${RIGHT[@]}"
	disable_lp "$LP"
	expect_answers "${WRONG[@]}"
	unload_mod "$LP"
	unload_mod "$TARGET"
	expect_log klp <<-'EOF'
		klp: vmlinux: 'rdmsr_safe_regs' is redirected
		klp: asm_target: 'asm_target_checksum' is redirected
		klp: asm_target: 'asm_target_percent' is redirected
		klp: vmlinux: 'rdmsr_safe_regs' is no longer redirected
		klp: asm_target: 'asm_target_checksum' is no longer redirected
		klp: asm_target: 'asm_target_percent' is no longer redirected
	EOF
}

target_comes_and_goes()
{
	local i

	load_lp "$LP"
	for i in 1 2 3; do
		load_mod "$TARGET"
		expect_answers "${RIGHT[@]}"
		unload_mod "$TARGET"
		expect_eq "probes after unload $i" 1 "$(wc -l < "$PROBES/list")"
	done
	disable_lp "$LP"
	expect_eq "probes" 0 "$(wc -l < "$PROBES/list")"
	load_mod "$TARGET"
	expect_answers "${WRONG[@]}"
	unload_mod "$LP"
	unload_mod "$TARGET"
}

# take_the_place_of LIVEPATCH: by one that knows nothing of it
take_the_place_of()
{
	load_lp "$NEXT" replace=1
	wait_for test ! -e "$KLP_SYSFS/$1" || fail "$1 was not replaced"
}

# A replaced livepatch redirects until its module goes. Then no callback runs, and no probe is left.
replaced()
{
	load_mod "$TARGET"
	load_lp "$LP"
	log_mark
	take_the_place_of "$LP"
	expect_answers "${RIGHT[@]}"
	unload_mod "$LP"
	expect_answers "${WRONG[@]}"
	expect_eq "probes" 0 "$(wc -l < "$PROBES/list")"
	expect_log "$LP" klp <<-'EOF'
	EOF
	load_lp "$LP"
	expect_answers "${RIGHT[@]}"
	disable_lp "$LP"
	expect_answers "${WRONG[@]}"
	unload_mod "$LP"
	disable_lp "$NEXT"
	unload_mod "$NEXT"
	unload_mod "$TARGET"
}

# msrs: what a program on CPU 0 reads of the first and of the last processor, by the ioctl X86_IOC_RDMSR_REGS, which calls
# rdmsr_safe_regs(), and by read(). 0x4f and 0xc00102f1 are the serial numbers of Intel's and AMD's. The two others show
# that reading still works: 0x1b, the APIC base, differs between processors, and 0x277, the PAT, has an upper half.
msrs()
{
	python3 - <<-'EOF'
		import fcntl, os, struct
		def by_ioctl(file, msr):
		    regs = struct.unpack("8I", fcntl.ioctl(file, 0xC02063A0, struct.pack("8I", 0, msr, *[0] * 6)))
		    return regs[2] << 32 | regs[0]
		def by_read(file, msr):
		    return struct.unpack("Q", os.pread(file, 8, msr))[0]
		os.sched_setaffinity(0, {0})
		for cpu in 0, os.cpu_count() - 1:
		    file = os.open(f"/dev/cpu/{cpu}/msr", os.O_RDONLY)
		    for msr in 0x4f, 0xc00102f1, 0x1b, 0x277:
		        for how in by_ioctl, by_read:
		            try:
		                value = f"{how(file, msr):#x}"
		            except OSError as error:
		                value = error.strerror
		            print(f"{msr:#x} of CPU {cpu} {how.__name__}: {value}")
	EOF
}

kernel_routine()
{
	local before hidden

	[ -e /dev/cpu/0/msr ] || modprobe -q msr
	require_file /dev/cpu/0/msr
	before=$(msrs)
	diag "$before"
	[[ $before = *"0x1b of CPU 0 by_read: 0xfee"* ]] || fail "this is no APIC base"
	hidden=$(sed -E '/^0x(4f|c00102f1) /s/:.*/: Input\/output error/' <<< "$before")
	[ "$before" != "$hidden" ] || skip "this processor has no serial number to hide"
	load_lp "$LP"
	expect_eq "registers" "$hidden" "$(msrs)"
	disable_lp "$LP"
	expect_eq "registers" "$before" "$(msrs)"
	unload_mod "$LP"
}

# ---- what the kernel forbids --------------------------------------------

# refused ERRNO PARAMETER ROUTINE REASON
refused()
{
	local object=vmlinux

	[ "$2" = kernel ] || object=$TEST_TARGET
	load_fails "$1" "$TEST" "$2=$3"
	log_has "^klp: $object: cannot redirect '$3': $4 \(-[0-9]+\)\$" || fail "no reason in the log for $3"
}

kernel_refusals()
{
	load_mod "$TEST_TARGET"
	refused ENOENT kernel no_such_routine "the object has no such symbol"
	refused ENOENT kernel test_redirect_sum "the object has no such symbol"
	refused EMLINK kernel init_once "the name is not unique"
	refused EINVAL kernel exc_int3 "the kernel allows no probe there"
	refused EINVAL kernel entry_SYSCALL_64 "the kernel allows no probe there"
	refused EINVAL kernel kprobe_int3_handler "the kernel allows no probe there"
	refused EBUSY kernel cmdline_proc_show "ftrace reaches it, .*"
	expect_eq "probes" 0 "$(wc -l < "$PROBES/list")"
	unload_mod "$TEST_TARGET"
}

target_refusals()
{
	load_mod "$TEST_TARGET"
	refused ENOENT target no_such_routine "the object has no such symbol"
	refused ENOENT target rdmsr_safe_regs "the object has no such symbol"
	refused EMLINK target test_redirect_twice "the name is not unique"
	refused EINVAL target test_redirect_noinstr "the kernel allows no probe there"
	refused EINVAL target test_redirect_nokprobe "the kernel allows no probe there"
	refused EINVAL target test_redirect_data "the kernel allows no probe there"
	if [ -n "$sample" ]; then
		refused EBUSY target test_redirect_plain "ftrace reaches it, .*"
	fi
	expect_eq "probes" 0 "$(wc -l < "$PROBES/list")"
	unload_mod "$TEST_TARGET"
}

# While a module loads, the kernel has not yet taken over the module's own list of what must not be probed.
coming_target_refusals()
{
	local routine

	for routine in noinstr nokprobe; do
		load_lp "$TEST" "target=test_redirect_$routine"
		load_fails EINVAL "$TEST_TARGET"
		log_has "^klp: $TEST_TARGET: cannot redirect 'test_redirect_$routine': the kernel allows no probe there"
		expect_eq "probes" 0 "$(wc -l < "$PROBES/list")"
		disable_lp "$TEST"
		unload_mod "$TEST"
	done
}

let_exit()
{
	[ ! -e "$PARAMS/stay" ] || write_file "$PARAMS/stay" N
}

being_removed()
{
	grep -q "^$TEST_TARGET .* Unloading " /proc/modules
}

# Its exit runs, and the livepatch core has not yet heard of it.
going_target()
{
	load_mod "$TEST_TARGET"
	on_exit let_exit
	write_file "$PARAMS/stay" Y
	rmmod "$TEST_TARGET" &
	wait_for being_removed
	load_fails EAGAIN "$TEST" target=test_redirect_sum
	log_has "^klp: $TEST_TARGET: cannot redirect 'test_redirect_sum': the object is being removed, so try again"
	let_exit
	wait
	load_lp "$TEST" target=test_redirect_sum
	disable_lp "$TEST"
	unload_mod "$TEST"
}

# ---- many callers -------------------------------------------------------

TASKS=$(($(nproc) * 2))

# expect_seen OLD NEW: whether (1) or not (0) the storm got such answers; never another one
expect_seen()
{
	local old new other

	read -r old new other < "$PARAMS/answers"
	diag "answers: old $old, new $new, neither $other"
	expect_eq "answers of neither version" 0 "$other"
	expect_eq "old answers" "$1" $((old > 0))
	expect_eq "new answers" "$2" $((new > 0))
}

# The answers from now on.
storm()
{
	set_param "$TEST_TARGET" storm "$1"
}

set_probes()
{
	write_file "$PROBES/enabled" "$1"
}

# While root has switched all probes off a redirect has no effect, so it is refused; later it says so.
probes_off()
{
	load_mod "$TEST_TARGET"
	on_exit set_probes 1
	set_probes 0
	refused EPERM target test_redirect_sum "all kernel probes are switched off .*"
	unload_mod "$TEST_TARGET"
	load_lp "$TEST" target=test_redirect_sum
	load_fails EPERM "$TEST_TARGET"
	set_probes 1
	load_mod "$TEST_TARGET"
	storm "$TASKS"
	sleep 1
	expect_seen 0 1
	set_probes 0
	storm "$TASKS"
	sleep 1
	expect_seen 1 0
	set_probes 1
	storm "$TASKS"
	sleep 1
	expect_seen 0 1
	set_probes 0
	log_mark
	disable_lp "$TEST"
	log_has "^klp: $TEST_TARGET: 'test_redirect_sum' is not redirected: all kernel probes are switched off"
	set_probes 1
	storm 0
	unload_mod "$TEST"
	unload_mod "$TEST_TARGET"
}

# The author's pre_patch refuses when all is registered: no other callback would take it away.
pre_patch_refuses()
{
	load_mod "$TEST_TARGET"
	load_fails ENODEV "$TEST" target=test_redirect_sum refuse=Y
	expect_eq "probes" 0 "$(wc -l < "$PROBES/list")"
	unload_mod "$TEST_TARGET"
}

# The same instruction changes under the callers, by root's switch for all probes.
hundred_rounds()
{
	local i

	# Each round stops all processors twice, which takes its time where they are emulated.
	KLP_WAIT=300
	on_exit set_probes 1
	load_mod "$TEST_TARGET"
	storm "$TASKS"
	load_lp "$TEST" target=test_redirect_sum
	for ((i = 0; i < 100; i++)); do
		set_probes 0
		set_probes 1
	done
	sleep 1
	expect_seen 1 1
	disable_lp "$TEST"
	storm 0
	unload_mod "$TEST"
	unload_mod "$TEST_TARGET"
}

stays_armed()
{
	save_sysctl debug.kprobes-optimization
	sysctl -q -w debug.kprobes-optimization=1
	load_mod "$TEST_TARGET"
	load_lp "$TEST" target=test_redirect_sum
	# The kernel optimizes probes a little later.
	sleep 2
	storm "$TASKS"
	sleep 2
	expect_seen 0 1
	[ "$(grep -c OPTIMIZED "$PROBES/list")" -eq 0 ] || fail "$(cat "$PROBES/list")"
	disable_lp "$TEST"
	storm "$TASKS"
	sleep 1
	expect_seen 1 0
	storm 0
	unload_mod "$TEST"
	unload_mod "$TEST_TARGET"
}

# let_go PARAMETER: no longer hold, or linger
let_go()
{
	[ ! -e "/sys/module/$TEST" ] || set_param "$TEST" "$1" N
}

# The redirect is kept after it was disarmed: the calls must have gone back by then.
gives_back_at_once()
{
	load_mod "$TEST_TARGET"
	load_lp "$TEST" target=test_redirect_sum hold=Y
	on_exit let_go hold
	write_file "$KLP_SYSFS/$TEST/enabled" 0 &
	wait_for log_has "^klp: $TEST_TARGET: 'test_redirect_sum' is no longer redirected"
	storm "$TASKS"
	sleep 1
	expect_seen 1 0
	expect_no_log "post_unpatch: $TEST_TARGET: drained"
	storm 0
	let_go hold
	wait
	wait_for test ! -e "$KLP_SYSFS/$TEST"
	unload_mod "$TEST"
	unload_mod "$TEST_TARGET"
}

# More tasks than processors are in the replacement, some preempted, when the redirect is dropped.
nobody_is_left()
{
	! has_config CONFIG_ARM64 || skip "tasks that are preempted in there hold the transition up: their stacks are not reliable"
	load_mod "$TEST_TARGET"
	storm "$TASKS"
	load_lp "$TEST" target=test_redirect_sum linger=Y
	on_exit let_go linger
	sleep 1
	write_file "$KLP_SYSFS/$TEST/enabled" 0 &
	wait_for log_has "'$TEST': completing unpatching transition"
	sleep 5
	expect_no_log "post_unpatch: $TEST_TARGET: drained"
	let_go linger
	wait
	wait_for test ! -e "$KLP_SYSFS/$TEST"
	unload_mod "$TEST"
	expect_seen 1 1
	storm 0
	unload_mod "$TEST_TARGET"
}

no_probes()
{
	[ "$(wc -l < "$PROBES/list")" -eq 0 ]
}

# The same when it is the exit of a replaced livepatch that drops the redirect.
nobody_is_left_of_a_replaced()
{
	load_mod "$TEST_TARGET"
	load_lp "$TEST" target=test_redirect_sum
	take_the_place_of "$TEST"
	wait_for file_is "/sys/module/$TEST/refcnt" 0
	on_exit let_go linger
	set_param "$TEST" linger Y
	storm "$TASKS"
	sleep 1
	rmmod "$TEST" &
	wait_for no_probes || fail "the probe stays"
	sleep 5
	[ -d "/sys/module/$TEST" ] || fail "$TEST is gone, and tasks are in it"
	let_go linger
	wait
	[ ! -d "/sys/module/$TEST" ] || fail "$TEST was not removed"
	expect_seen 1 1
	storm 0
	disable_lp "$NEXT"
	unload_mod "$NEXT"
	unload_mod "$TEST_TARGET"
}

target_goes_in_a_storm()
{
	local i

	load_lp "$TEST" target=test_redirect_sum
	for ((i = 0; i < 3; i++)); do
		load_mod "$TEST_TARGET"
		storm "$TASKS"
		sleep 0.5
		expect_seen 0 1
		unload_mod "$TEST_TARGET"
	done
	disable_lp "$TEST"
	unload_mod "$TEST"
}

# ---- cost ---------------------------------------------------------------

costs()
{
	local asm c asm_redirected c_patched

	load_mod "$TEST_TARGET"
	read -r asm c < "$PARAMS/cost"
	load_lp "${TEST}_cost"
	load_lp "$TEST" target=test_redirect_sum
	read -r asm_redirected c_patched < "$PARAMS/cost"
	disable_lp "$TEST"
	disable_lp "${TEST}_cost"
	unload_mod "$TEST"
	unload_mod "${TEST}_cost"
	unload_mod "$TEST_TARGET"
	awk -v asm="$asm" -v c="$c" -v redirected="$asm_redirected" -v patched="$c_patched" 'BEGIN {
		printf "1000 calls: not patched %.1f us, by ftrace %.1f us, redirected %.1f us\n",
			c / 1000, patched / 1000, redirected / 1000
		printf "by ftrace: %.1f times a plain call\n", patched / c
		printf "redirected: %.1f times a plain call, %.1f times a call by ftrace\n",
			redirected / asm, redirected / patched
	}' >&2
}

if [ -n "$sample" ]; then
	ktap_case "a klp_func on assembly is refused when the livepatch loads" naive_is_refused
	ktap_case "a klp_func on assembly keeps the target out when it loads" naive_keeps_target_out
	ktap_case "naive: a target that comes back is not redirected, and nobody hears of it" naive
	ktap_case "assembly and Rust of a loaded target are redirected and given back" tells_its_story
	ktap_case "a target that is loaded later is redirected" target_comes_later
	ktap_case "a target is unloaded and loaded again under the patch" target_comes_and_goes
	ktap_case "R13: a replaced livepatch redirects until its module goes, and leaves nothing" replaced
	ktap_case "a routine of the kernel itself is redirected" kernel_routine
	ktap_case "Redirect refuses what the kernel forbids in the kernel" kernel_refusals
fi
ktap_case "Redirect refuses what the kernel forbids in a loaded target" target_refusals
ktap_case "Redirect refuses what the kernel forbids in a target that loads" coming_target_refusals
ktap_case "Redirect asks to come again while a target is being removed" going_target
ktap_case "refused while all probes are switched off, and the log says so later" probes_off
ktap_case "a pre_patch that fails leaves no probe behind" pre_patch_refuses
ktap_case "switched off and on 100 times under many callers" hundred_rounds
if [ -n "$sample" ]; then
	ktap_case "jump optimisation does not take the redirect away" stays_armed
fi
ktap_case "disarmed before the transition ends, not by it" gives_back_at_once
ktap_case "no task is left in a replacement when its module goes" nobody_is_left
ktap_case "no task is left in a replacement when the module of a replaced livepatch goes" nobody_is_left_of_a_replaced
ktap_case "the target goes and comes in the midst of calls" target_goes_in_a_storm
ktap_case "the cost of a call is told" costs
ktap_finish

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# samples/syscall-compat: waitid() reaps no child that it could not tell of, by whichever entry it is called; otherwise it
# does what it did. Whoever sleeps in the call while the patch comes or goes is moved over, and does not notice.
#
# xtask: modules=syscall-compat,naive-syscall-compat append=syscall.x32=y

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/samples.sh"

LP=syscall_compat
NAIVE=naive_syscall_compat

require_command python3
require_config CONFIG_IA32_EMULATION CONFIG_STACKTRACE
require_ko "$LP" "$NAIVE"
ktap_plan 8

waitid()
{
	"$KLP_DIR/waitid.py" "$@"
}

declare -A SLEEPER
ENTRIES=(native ia32)
[[ $(waitid lose x32) == *ENOSYS* ]] || ENTRIES+=(x32)

# is_in NAME FUNCTION: the sleeper is in there. Of the stack only what the core looks at counts: without `?`.
is_in()
{
	read_file "/proc/${SLEEPER[$1]}/stack" && [[ $REPLY =~ \ $2\+ ]]
}

# sleeper NAME ENTRY [bad]: asleep in the call. What it prints is in $KLP_TMP/NAME
sleeper()
{
	local name=$1

	shift
	# No shell in between, which would sleep in wait4().
	"$KLP_DIR/waitid.py" sleep "$@" > "$KLP_TMP/$name" &
	SLEEPER[$name]=$!
	wait_for is_in "$name" do_wait || fail "the sleeper $name does not sleep"
}

# Of what gcc makes of the entries. An entry that calls the body is still on the stack of whoever sleeps, who is sent round again.
entries_jump()
{
	local name

	for name in "${!SLEEPER[@]}"; do
		! is_in "$name" '__(x64|ia32_compat)_sys_waitid' || skip "an entry of this kernel's waitid() does not jump, but calls"
	done
}

# where NAME: the compiler lets an entry jump into the body of the call, so whoever came by an old one is in none
where()
{
	local in="no entry"

	! is_in "$1" 'livepatch\.vmlinux\.[a-z0-9_]*_waitid' || in="the replacement"
	echo "asleep, ${1/_/ }: in $in"
}

has_said()
{
	read_file "$KLP_TMP/$1" && [[ $REPLY == *$'\n'* ]]
}

# says NAME: what the call said, once it has
says()
{
	wait_for has_said "$1" || fail "$1 sleeps on"
	echo "${REPLY#*$'\n'}"
}

# wakes NAME: its child is killed
wakes()
{
	read_file "$KLP_TMP/$1"
	kill -KILL "$REPLY"
	says "$1"
}

main_case()
{
	show waitid lose native ia32
	sleeper 64_bit native
	sleeper 32_bit ia32
	entries_jump
	show where 64_bit
	show where 32_bit
	load_lp "$LP"
	show where 64_bit
	show where 32_bit
	show wakes 64_bit
	show wakes 32_bit
	show waitid lose native ia32
	disable_lp "$LP"
	unload_mod "$LP"
	show waitid lose native ia32
	check_transcript syscall-compat "$LP"
}

# The way back: who sleeps in the replacement leaves it before the module goes.
sleeps_on()
{
	load_lp "$LP"
	sleeper 64_bit native
	sleeper 32_bit ia32
	expect_eq "before" "asleep, 64 bit: in the replacement" "$(where 64_bit)"
	expect_eq "before" "asleep, 32 bit: in the replacement" "$(where 32_bit)"
	disable_lp "$LP"
	log_has 'signaling remaining tasks' || fail "nobody was in the way"
	unload_mod "$LP"
	expect_eq "after" "asleep, 64 bit: in no entry" "$(where 64_bit)"
	expect_eq "after" "asleep, 32 bit: in no entry" "$(where 32_bit)"
	expect_eq "woken" "waitid(), 64 bit, asleep: 0, the child: known" "$(wakes 64_bit)"
	expect_eq "woken" "waitid(), 32 bit, asleep: 0, the child: known" "$(wakes 32_bit)"
}

# Who has passed the old entry is behind the check for good, also when the transition has ended.
sleeps_badly()
{
	sleeper 64_bit native bad
	sleeper 32_bit ia32 bad
	entries_jump
	load_lp "$LP"
	expect_eq "woken" "waitid(), 64 bit, asleep: EFAULT, the child: lost" "$(wakes 64_bit)"
	expect_eq "woken" "waitid(), 32 bit, asleep: EFAULT, the child: lost" "$(wakes 32_bit)"
}

# A replacement that differs from its original in anything but the fix is a defect: EFAULT comes for the same arguments.
but_for_the_fix()
{
	local entries=("${ENTRIES[@]}")

	waitid verdicts "${entries[@]}" > "$KLP_TMP/before"
	load_lp "$LP"
	waitid verdicts "${entries[@]}" > "$KLP_TMP/with"
	expect_eq "verdicts" $((${#entries[@]} * 226 + 1)) "$(wc -l < "$KLP_TMP/before")"
	cmp -s "$KLP_TMP/before" "$KLP_TMP/with" ||
		fail "other verdicts: $(diff "$KLP_TMP/before" "$KLP_TMP/with" | grep '^[<>]' | head -n 4)"
}

# No child is lost, whichever address is bad and in whatever way.
no_child_lost()
{
	local lost='EFAULT: lost$' kept='EFAULT: known$'

	waitid fates "${ENTRIES[@]}" > "$KLP_TMP/before"
	load_lp "$LP"
	waitid fates "${ENTRIES[@]}" > "$KLP_TMP/with"
	expect_eq "fates" $((${#ENTRIES[@]} * 48)) "$(wc -l < "$KLP_TMP/before")"
	! grep -qE "$kept" "$KLP_TMP/before" || fail "kept without the patch: $(grep -E "$kept" "$KLP_TMP/before")"
	expect_eq "with the patch" "$(sed "s/$lost/EFAULT: known/" "$KLP_TMP/before")" "$(< "$KLP_TMP/with")"
}

while_waiting()
{
	comes_and_goes "$LP" waitid work "$KLP_TMP/stop" "${ENTRIES[@]}"
}

# The third entry, which Debian's kernel has, and takes calls by with syscall.x32=y.
x32()
{
	[ "${#ENTRIES[@]}" -eq 3 ] || skip "this kernel takes no calls of x32 programs (CONFIG_X86_X32_ABI, syscall.x32=y)"
	expect_eq "before" "waitid(), x32: EFAULT, the child: lost" "$(waitid lose x32)"
	sleeper x32 x32
	load_lp "$LP"
	expect_eq "with the patch" "waitid(), x32: EFAULT, the child: known" "$(waitid lose x32)"
	expect_eq "woken" "waitid(), x32, asleep: 0, the child: known" "$(wakes x32)"
}

# ANCHOR: naive
naive()
{
	show waitid lose native ia32
	load_lp "$NAIVE"
	# Whoever means harm asks for the other one.
	show waitid lose native ia32
	disable_lp "$NAIVE"
	unload_mod "$NAIVE"
	check_transcript naive-syscall-compat "$NAIVE"
}
# ANCHOR_END: naive

ktap_case "a child before, during and after, and two sleepers, as in the transcript" main_case
ktap_case "but for the fix every verdict is that of the original" but_for_the_fix
ktap_case "no child is lost, whatever is wrong with the address" no_child_lost
ktap_case "a third entry: x32" x32
ktap_case "whoever sleeps in the replacement sleeps on without it" sleeps_on
ktap_case "whoever sleeps behind an old entry is not checked any more" sleeps_badly
ktap_case "enabled and disabled while children are waited for" while_waiting
ktap_case "naive: 32-bit programs come by the other entry" naive
ktap_finish

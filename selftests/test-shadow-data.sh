#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# samples/shadow-data: when a radio of IEEE 802.15.4 joins a network, one answer is taken and no
# other, by a lock that struct ieee802154_local lacks: attached to the radios that come and, when they
# join, to those that are there; freed with them.
#
# With one processor all answers are there before the worker that reads them runs.
#
# xtask: cpus=1 modules=shadow-data,naive-shadow-data,selftests

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/samples.sh"

LP=shadow_data
NAIVE=naive_shadow_data
TRACING=/sys/kernel/tracing

require_command ip python3
require_module mac802154_hwsim
require_ko "$LP" "$NAIVE" test_klp_atomic_replace test_klp_successor
[ -e "$TRACING/trace" ] || mount -t tracefs tracefs "$TRACING" 2>/dev/null || true
ktap_plan 12

wpan()
{
	"$KLP_DIR/wpan.py" "$@"
}

# Two radios that hear each other: that of wpan0 joins, that of mon1 answers.
some_radios()
{
	load_mod mac802154_hwsim
	log_mark
	up wpan0
	wpan monitor wpan1 mon1
	up mon1
}

# What the first case has found out.
needs_the_fix()
{
	[ ! -e "$KLP_TMP/has_lock" ] || skip "this kernel has the lock itself"
}

# The same on a kernel that takes the second answer.
radios()
{
	needs_the_fix
	some_radios
	[ -e "$KLP_TMP/lacks_lock" ] || require_output "wpan0 is 2222" two_answers
	: > "$KLP_TMP/lacks_lock"
}

up()
{
	wait_for test -e "/sys/class/net/$1" || fail "no interface $1"
	ip link set "$1" up
}

# new_radio NUMBER: makes one that hears mon1, whose interface is of that number, too
new_radio()
{
	expect_eq "the new radio" "$1" "$(wpan new)"
	up "wpan$1"
	wpan link 1 "$1"
}

# joined RADIO ANSWER…: what comes of it
joined()
{
	wpan join "$1" mon1 "${@:2}"
}

# Whoever is near can send in the name of the coordinator.
two_answers()
{
	joined wpan0 1111 2222
}

# joins IS RADIO ANSWER…
joins()
{
	expect_eq "joined with the answers ${*:3}" "$1" "$(joined "${@:2}")"
}

# Every call by which a field is made or freed, as the kernel itself sees it.
watch_fields()
{
	require_file "$TRACING/kprobe_events"
	on_exit unwatch
	# The lookup ahead of it leaves this call to those that have none.
	echo "r:klp/made klp_shadow_get_or_alloc" > "$TRACING/kprobe_events"
	echo "p:klp/freed klp_shadow_free" >> "$TRACING/kprobe_events"
	echo 1 > "$TRACING/events/klp/enable"
}

unwatch()
{
	echo 0 > "$TRACING/events/klp/enable" || true
	echo > "$TRACING/kprobe_events"
	echo > "$TRACING/trace"
}

# fields MADE FREED: since the last look
fields()
{
	local made freed

	made=$(grep -c ' made:' "$TRACING/trace" || true)
	freed=$(grep -c ' freed:' "$TRACING/trace" || true)
	echo > "$TRACING/trace"
	expect_eq "fields made, and radios whose field was freed" "$1 $2" "$made $freed"
}

# Where the first answer counts anyhow, as from Linux 7.3 on, the kernel has the lock itself, and the patch is refused.
only_without_lock()
{
	local seen

	some_radios
	seen=$(two_answers)
	if [ "$seen" = "wpan0 is 2222" ]; then
		: > "$KLP_TMP/lacks_lock"
		load_lp "$LP"
		disable_lp "$LP"
		unload_mod "$LP"
		return
	fi
	expect_eq "two answers" "wpan0 is 1111" "$seen"
	! has_config CONFIG_PROVE_LOCKING=y || skip "with lockdep the second answer comes when the first is read"
	load_fails ENOEXEC "$LP"
	log_has "^$LP: struct ieee802154_local has this lock already" || fail "refused for another reason"
	load_fails ENOEXEC "$NAIVE"
	: > "$KLP_TMP/has_lock"
}

main_case()
{
	radios
	show two_answers
	load_lp "$LP"
	show two_answers
	disable_lp "$LP"
	show two_answers
	unload_mod "$LP"
	check_transcript shadow-data "$LP"
}

# Radios of before and of now; every other answer is treated as without the patch.
old_and_new()
{
	radios
	load_lp "$LP"
	new_radio 2
	joins "wpan0 is 1111" wpan0 1111 2222
	joins "wpan2 is 1111" wpan2 1111 2222
	disable_lp "$LP"
	joins "wpan0 is 2222" wpan0 1111 2222
	joins "wpan2 is 2222" wpan2 1111 2222
	unload_mod "$LP"
	load_lp "$LP"
	joins "wpan0 is 1111" wpan0 1111 2222
	joins "wpan2 is 1111" wpan2 1111 2222
	disable_lp "$LP"
	unload_mod "$LP"
}

same_otherwise()
{
	local pass

	radios
	for pass in without with; do
		diag "$pass the patch"
		[ "$pass" = without ] || load_lp "$LP"
		joins "wpan0 is abcd" wpan0 abcd
		joins "wpan0: Operation not permitted" wpan0 1111/2
		joins "wpan0: Numerical result out of range" wpan0 1111/1
		# From somebody else: nobody answers.
		joins "wpan0: Connection timed out" wpan0 2222@6
		joins "wpan0 is 1111" wpan0 2222@6 1111
	done
	# The first counts, whatever it says.
	joins "wpan0: Operation not permitted" wpan0 1111/2 2222
	joins "wpan0 is 1111" wpan0 1111 2222/2
	disable_lp "$LP"
	unload_mod "$LP"
}

# begin ANSWER…: wpan0 has asked, and gets the answers when `finish` is called; the sleeping task is in one of the functions
begin()
{
	rm -f "$KLP_TMP/asked" "$KLP_TMP/go"
	wpan join --asked "$KLP_TMP/asked" --after "$KLP_TMP/go" wpan0 mon1 "$@" > "$KLP_TMP/joined" &
	JOINING=$!
	wait_for test -e "$KLP_TMP/asked" || fail "wpan0 has not asked"
}

# finish IS
finish()
{
	: > "$KLP_TMP/go"
	wait "$JOINING"
	expect_file "$KLP_TMP/joined" "$1"
}

# An association that waits while the patch comes, or goes, ends as it began and is not lost.
in_flight()
{
	radios
	begin 1111
	load_lp_nowait "$LP"
	expect_file "$KLP_SYSFS/$LP/transition" 1
	finish "wpan0 is 1111"
	wait_transition "$LP"
	begin 1111
	write_file "$KLP_SYSFS/$LP/enabled" 0
	expect_file "$KLP_SYSFS/$LP/transition" 1
	finish "wpan0 is 1111"
	wait_for test ! -e "$KLP_SYSFS/$LP" || fail "$LP does not get disabled"
	unload_mod "$LP"
}

# Reversed while an association waits: it ends as it should, whichever function its worker is in by then, and the next one
# has its lock.
reversed()
{
	radios
	load_lp "$LP"
	begin 1111
	write_file "$KLP_SYSFS/$LP/enabled" 0
	write_file "$KLP_SYSFS/$LP/enabled" 1
	log_has "reversing transition from unpatching to patching" || fail "nothing was reversed"
	finish "wpan0 is 1111"
	wait_transition "$LP"
	joins "wpan0 is 1111" wpan0 1111 2222
	begin 1111
	write_file "$KLP_SYSFS/$LP/enabled" 0
	finish "wpan0 is 1111"
	wait_for test ! -e "$KLP_SYSFS/$LP" || fail "$LP does not get disabled"
	unload_mod "$LP"
}

# A field is made with each radio, or when a radio of before joins first; it goes with the radio.
lifetime()
{
	radios
	watch_fields
	load_lp "$LP"
	fields 0 0
	joins "wpan0 is 1111" wpan0 1111
	joins "wpan0 is 1111" wpan0 1111
	fields 1 0
	new_radio 2
	joins "wpan2 is 1111" wpan2 1111
	fields 1 0
	wpan del 2
	fields 0 1
	# A radio without a field is freed as well.
	unload_mod mac802154_hwsim
	fields 0 2
	disable_lp "$LP"
	unload_mod "$LP"
}

# After a reversed unpatching, or under a successor, radios go by the old function and leave their fields behind. Whoever
# gets their address finds a lock that nobody holds, for a radio that waits for nobody: it is as good as new.
left_behind()
{
	local i

	radios
	load_lp "$LP"
	for i in 2 3 4 5; do
		new_radio "$i"
		joins "wpan$i is 1111" "wpan$i" 1111
	done
	load_lp test_klp_successor
	wait_for test ! -e "$KLP_SYSFS/$LP" || fail "$LP was not replaced"
	unload_mod "$LP"
	for i in 2 3 4 5; do
		wpan del "$i"
	done
	watch_fields
	load_lp "$LP"
	for i in 6 7 8 9; do
		expect_eq "the new radio" "$i" "$(wpan new)"
		up "wpan$((i - 4))"
		wpan link 1 "$i"
		joins "wpan$((i - 4)) is 1111" "wpan$((i - 4))" 1111 2222
	done
	fields 4 0
	disable_lp "$LP"
	disable_lp test_klp_successor
	unload_mod "$LP"
	unload_mod test_klp_successor
}

declared()
{
	radios
	load_lp "$LP"
	keeps_its_state "$LP" joins "wpan0 is 1111" wpan0 1111
}

# The patched module itself comes and goes.
target()
{
	needs_the_fix
	load_lp "$LP"
	for _ in 1 2; do
		radios
		joins "wpan0 is 1111" wpan0 1111 2222
		unload_mod mac802154_hwsim
		unload_mod mac802154
		log_has "$LP: post_unpatch: mac802154: freed" || fail "nothing was freed with the module"
	done
	disable_lp "$LP"
	unload_mod "$LP"
}

# An association must come to its end, by whichever answer.
associates()
{
	local seen

	seen=$(joined wpan0 1111 2222)
	[[ $seen == 'wpan0 is '[12]* ]] || fail "an association failed: $seen"
}

while_joining()
{
	radios
	comes_and_goes "$LP" repeat associates
}

# The naive version makes the lock with the radio only: those that are there never get one.
naive()
{
	radios
	load_lp "$NAIVE"
	show two_answers
	new_radio 2
	show joined wpan2 1111 2222
	disable_lp "$NAIVE"
	unload_mod "$NAIVE"
	check_transcript naive-shadow-data "$NAIVE"
}

ktap_case "the patch loads where the kernel lacks the lock, and nowhere else" only_without_lock
ktap_case "two answers, before, during and after, as in the transcript" main_case
ktap_case "radios that were there before, and new ones, take the first answer" old_and_new
ktap_case "what else may be answered is treated as without the patch" same_otherwise
ktap_case "an association in flight survives the patch's coming and going" in_flight
ktap_case "R14: a reversed unpatching leaves an association in flight and the lock as they should be" reversed
ktap_case "a field lives as long as its radio" lifetime
ktap_case "fields that were left behind are as good as new" left_behind
ktap_case "R13: a successor that does not know of the lock is refused" declared
ktap_case "mac802154 comes and goes" target
ktap_case "enabled and disabled while a radio joins" while_joining
ktap_case "naive: a radio that was there before takes the second answer" naive
ktap_finish

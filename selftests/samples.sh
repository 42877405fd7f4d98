# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# What the tests of the samples have in common; source it after functions.sh.

# keeps_its_state NAME FUNC [ARG…]: NAME is enabled; a cumulative patch that does not know its state is refused, and one that
# does takes its place; FUNC is asked thrice if what NAME changed is so
keeps_its_state()
{
	local mod=$1

	shift
	load_fails EINVAL test_klp_atomic_replace replace=1
	log_has "Livepatch patch .test_klp_atomic_replace. is not compatible" || fail "refused for another reason"
	expect_file "$KLP_SYSFS/$mod/enabled" 1
	"$@"
	load_lp test_klp_successor
	wait_for test ! -e "$KLP_SYSFS/$mod" || fail "$mod was not replaced"
	"$@"
	unload_mod "$mod"
	"$@"
	disable_lp test_klp_successor
	unload_mod test_klp_successor
}

# comes_and_goes NAME CMD…: NAME is loaded and removed three times beside CMD, which works until $KLP_TMP/stop is there, keeps
# in $KLP_TMP/stop.count how often it has worked, and must not fail
comes_and_goes()
{
	local mod=$1 background wanted=0

	shift
	"$@" &
	background=$!
	for _ in 1 2 3; do
		load_lp "$mod"
		wait_for has_worked $((wanted += 2)) || fail "with $mod nothing goes on: $*"
		disable_lp "$mod"
		unload_mod "$mod"
		wait_for has_worked $((wanted += 2)) || fail "without $mod nothing goes on: $*"
	done
	: > "$KLP_TMP/stop"
	wait "$background" || fail "beside $mod failed: $*"
}

has_worked()
{
	read_file "$KLP_TMP/stop.count" && [ "${REPLY:-0}" -ge "$1" ]
}

# repeat CMD…: such a CMD, of one that works once
repeat()
{
	local count=0

	while [ ! -e "$KLP_TMP/stop" ]; do
		"$@"
		count=$((count + 1))
		echo "$count" > "$KLP_TMP/stop.count"
	done
}

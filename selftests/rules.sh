# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# What the scripts have in common that prove the rules; source it after functions.sh.
#
# rules_target answers reads of /proc/rules_target: 0 by its own function, 11 by rules_all's, 22 by rules_next's,
# and 19 by rules_all's if the state went away while the reader slept. `open` is its gate.

UID_FILE=/proc/sys/kernel/overflowuid
ANSWER=/proc/rules_target

rules_needs()
{
	require_ko "$@"
	require_file "$UID_FILE"
}

# The value that rules_all changes to 60001.
uid_65534()
{
	save_file "$UID_FILE"
	write_file "$UID_FILE" 65534
}

load_targets()
{
	load_mod rules_target
	load_mod rules_other
}

asleep()
{
	local state

	state=$(sed 's/.*) //' "/proc/$1/stat") || return 1
	[ "${state%% *}" = D ]
}

# Parks a task in the function that answers now; PARKED is its pid.
park()
{
	set_param rules_target open N
	cat "$ANSWER" > "$KLP_TMP/answer" &
	PARKED=$!
	wait_for asleep "$PARKED" || fail "the reader of $ANSWER does not sleep"
}

# Lets it go on; ANSWERED is what it got.
unpark()
{
	set_param rules_target open Y
	wait "$PARKED" || fail "the reader of $ANSWER failed"
	# shellcheck disable=SC2034 # for the scripts that source this file
	ANSWERED=$(cat "$KLP_TMP/answer")
}

# Nothing decides a transition but the parked task: it must still run after a while.
expect_stalled()
{
	sleep 2
	expect_file "$KLP_SYSFS/$1/transition" 1
}

expect_patched()
{
	local object
	local lp=$1
	shift
	for object in "$@"; do
		expect_file "$KLP_SYSFS/$lp/${object%=*}/patched" "${object#*=}"
	done
}

# rmmod looks at the count of users itself and names no errno.
expect_in_use()
{
	local out

	log "% rmmod $1"
	if out=$(rmmod "$1" 2>&1); then
		fail "rmmod $1 should have failed"
	fi
	grep -q "$1 is in use" <<< "$out" || fail "rmmod $1 says: $out"
	[ -d "/sys/module/$1" ] || fail "module $1 is gone"
}

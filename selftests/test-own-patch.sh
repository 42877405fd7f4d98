#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The worked example of the book's chapter "From sample to your own patch": /proc/uptime
# shows the idle time in whole seconds; version 2, cumulative, leaves administrators the
# hundredths.
#
# xtask: modules=own-patch

# ANCHOR: first
. "$(dirname "$0")/functions.sh"

V1=uptime_grain

require_command setpriv cut
require_file /proc/uptime
require_ko "$V1"

# idle_seen_by root|user: how exactly that one sees the idle time. By chance it is a whole
# second one time in a hundred, hence many looks.
idle_seen_by()
{
	local as=() seen

	if [ "$1" = user ]; then
		as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	fi
	for _ in $(seq 20); do
		seen=$("${as[@]}" cat /proc/uptime)
		if [ "${seen: -3}" != .00 ]; then
			echo "$1 sees the idle time in hundredths of a second"
			return
		fi
	done
	echo "$1 sees the idle time in whole seconds"
}

main_case()
{
	show idle_seen_by user
	load_lp "$V1"
	show idle_seen_by user
	show idle_seen_by root
	disable_lp "$V1"
	unload_mod "$V1"
	show idle_seen_by user
	check_transcript own-patch "$V1"
}
# ANCHOR_END: first

between()
{
	if [ "$2" -lt "$1" ] || [ "$2" -gt "$3" ]; then
		fail "$2 is not between $1 and $3"
	fi
}

# The numbers go on where they were, and have the form that programs expect.
same_numbers()
{
	local before after

	before=$(cut -d. -f1,2 /proc/uptime | tr . ' ')
	load_lp "$V1"
	grep -qxE '[0-9]+\.[0-9]{2} [0-9]+\.00' /proc/uptime || fail "$(cat /proc/uptime)"
	after=$(cut -d. -f1,2 /proc/uptime | tr . ' ')
	# shellcheck disable=SC2086 # three numbers each: seconds, hundredths, idle seconds
	set -- $before $after
	between "$1" "$4" $(($1 + 300))
	between "$3" "$6" $(($3 + 600))
	disable_lp "$V1"
	unload_mod "$V1"
}

# ANCHOR: upgrade
V2=uptime_grain_2

require_ko "$V2"

upgrade()
{
	load_lp "$V1"
	show idle_seen_by root
	load_lp "$V2"
	unload_mod "$V1"
	show idle_seen_by user
	show idle_seen_by root
	disable_lp "$V2"
	unload_mod "$V2"
	check_transcript own-patch-upgrade "$V1" "$V2"
}

# Nobody is without a patch while version 2 replaces version 1, or the other way round.
never_unpatched()
{
	load_lp "$V1"
	# shellcheck disable=SC2016 # it is for the other shell
	setpriv --reuid=65534 --regid=65534 --clear-groups bash -c '
		while read -r _ idle < /proc/uptime; do
			if [ "${idle: -3}" != .00 ]; then
				echo "$idle"
			fi
		done' > "$KLP_TMP/leaked" &
	load_lp "$V2"
	unload_mod "$V1"
	load_lp "$V1"
	unload_mod "$V2"
	kill $!
	expect_eq "idle times that a user saw in hundredths" "" "$(cat "$KLP_TMP/leaked")"
	disable_lp "$V1"
	unload_mod "$V1"
}
# ANCHOR_END: upgrade

# It counts who opened the file, not who reads it.
opener_counts()
{
	local seen

	load_lp "$V2"
	for _ in $(seq 20); do
		exec 7< /proc/uptime
		seen=$(setpriv --reuid=65534 --regid=65534 --clear-groups cat <&7)
		[ "${seen: -3}" = .00 ] || break
	done
	[ "${seen: -3}" != .00 ] || fail "a file that root opened shows whole seconds"
	disable_lp "$V2"
	unload_mod "$V2"
}

# ANCHOR: cases
ktap_plan 5
ktap_case "before, during and after, as in the transcript" main_case
ktap_case "apart from the hundredths /proc/uptime is as it was" same_numbers
ktap_case "version 2 replaces version 1, as in the transcript" upgrade
ktap_case "R13: replaced either way, no reader is without a patch" never_unpatched
ktap_case "who opened the file counts, not who reads it" opener_counts
ktap_finish
# ANCHOR_END: cases

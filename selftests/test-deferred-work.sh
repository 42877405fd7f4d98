#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# samples/deferred-work: a column of /proc/softirqs that a timer, work and RCU callbacks of
# the module fill; none of them may run after the module has gone.
#
# Where RCU callbacks are offloaded to threads they are lazy (CONFIG_RCU_LAZY): nobody hurries, and they run up to ten
# seconds later. So one that was not waited for runs long after rmmod.
#
# xtask: modules=deferred-work,selftests append=rcu_nocbs=all

. "$(dirname "$0")/functions.sh"

LP=deferred_work

require_command awk python3
require_file /proc/softirqs
require_ko "$LP"
ktap_plan 6

# peak_of KIND
peak_of()
{
	awk -v kind="$1:" '$1 == kind { print $NF }' /proc/softirqs
}

# above KIND COUNT: a condition for wait_for
above()
{
	local peak

	peak=$(peak_of "$1")
	[ "$peak" != - ] && [ "$peak" -gt "$2" ]
}

# As the transcript has it: no numbers.
columns()
{
	sed -E 's/ +/ /g; s/^ //; s/CPU[0-9]+/CPU/g; s/ [0-9]+/ N/g' /proc/softirqs |
		sed -E 's/(CPU ?)+/CPUs /; s/( N)+/ N/; s/ $//' | head -3
}

main_case()
{
	show columns
	load_lp "$LP"
	wait_for above TIMER -1 || fail "no peaks"
	log "# $(head -1 /proc/softirqs | awk '{ print $NF }')"
	disable_lp "$LP"
	show columns
	unload_mod "$LP"
	check_transcript deferred-work "$LP"
}

# Apart from the new column each line is the kernel's own; the counters themselves run on.
same_lines()
{
	local before

	before=$(sed -E 's/[0-9]+/N/g; s/ +/ /g; s/ $//' /proc/softirqs)
	load_lp "$LP"
	wait_for above TIMER -1 || fail "no peaks"
	expect_eq "/proc/softirqs without its last column" "$before" \
		"$(sed -E 's/ +(peak.10ms|[0-9]+)$//; s/[0-9]+/N/g; s/ +/ /g; s/ $//' /proc/softirqs)"
	disable_lp "$LP"
	unload_mod "$LP"
	expect_eq "/proc/softirqs afterwards" "$before" \
		"$(sed -E 's/[0-9]+/N/g; s/ +/ /g; s/ $//' /proc/softirqs)"
}

# Not even the first peaks are of more softirqs than ran since the load. They are there for 200 ms.
first_peaks()
{
	cat /proc/softirqs > "$KLP_TMP/before"
	load_lp_nowait "$LP"
	wait_for has_peaks || fail "no peaks"
	awk 'FNR == 1 { next }
		NR == FNR { for (i = 2; i <= NF; i++) before[$1] += $i; next }
		{ for (i = 2; i < NF; i++) before[$1] -= $i }
		$NF > -before[$1] { print $1, "peak", $NF, "of", -before[$1]; bad = 1 }
		END { exit bad }' "$KLP_TMP/before" - <<< "$REPLY" || fail "^ a peak of more than ran"
	wait_transition "$LP"
	disable_lp "$LP"
	unload_mod "$LP"
}

has_peaks()
{
	read_file /proc/softirqs && [[ $REPLY = *peak*[0-9] ]]
}

# A burst of packets to oneself shows while it lasts, and goes when it is over.
burst()
{
	load_lp "$LP"
	netns_add klp-burst
	# Not by in_ns: $! must be the sender itself.
	ip netns exec klp-burst python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    s.sendto(b"x", ("127.0.0.1", 9))' &
	wait_for above NET_RX 10 || fail "no burst seen: $(peak_of NET_RX)"
	kill $!
	wait_for not above NET_RX 10 || fail "the burst does not end: $(peak_of NET_RX)"
	disable_lp "$LP"
	unload_mod "$LP"
}

not()
{
	! "$@"
}

# Removed as soon as the kernel lets it go, with readers on it, and at any point of its
# cycle of 200 ms. Whatever was left would run within ten seconds, and the kernel would die.
stress()
{
	local i ko reader

	ko=$(find_ko "$LP")
	(while :; do cat /proc/softirqs > /dev/null; done) &
	reader=$!
	for i in $(seq 10); do
		insmod "$ko"
		wait_transition "$LP"
		sleep "0.$((i % 5))"
		echo 0 > "$KLP_SYSFS/$LP/enabled"
		wait_for rmmod "$LP" 2> /dev/null || fail "round $i: cannot be removed"
	done
	kill "$reader"
	sleep 12
	expect_eq "loads" 10 "$(log_of "$LP" | grep -c sampling)"
	expect_eq "drains" 10 "$(log_of "$LP" | grep -c drained)"
}

# A cumulative patch takes over: post_unpatch does not run, rmmod must drain.
replaced()
{
	require_ko test_klp_atomic_replace
	load_lp "$LP"
	load_lp test_klp_atomic_replace replace=1
	expect_eq "columns" "$(($(nproc --all) + 1))" "$(awk 'NR == 2 { print NF }' /proc/softirqs)"
	unload_mod "$LP"
	sleep 1
	expect_log "$LP" <<-'EOF'
		deferred_work: pre_patch: vmlinux: sampling
	EOF
	disable_lp test_klp_atomic_replace
	unload_mod test_klp_atomic_replace
}

ktap_case "before, during and after, as in the transcript" main_case
ktap_case "nothing else of /proc/softirqs changes" same_lines
ktap_case "no peak is of more than ran since the load" first_peaks
ktap_case "a burst shows and passes" burst
ktap_case "loaded and removed in a hurry, nothing runs afterwards" stress
ktap_case "R13: replaced, it is drained by rmmod" replaced
ktap_finish

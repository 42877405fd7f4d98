#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# samples/sysctl-update: net.ipv4.tcp_challenge_ack_limit is raised from 100 to 1000 in
# every network namespace that is still at 100, its reader is replaced, and what was
# taken is given back.
#
# xtask: modules=sysctl-update,naive-sysctl-update,selftests

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/samples.sh"
. "$(dirname "$0")/lock_order.sh"

LP=sysctl_update
NAIVE=naive_sysctl_update
SYSCTL=net.ipv4.tcp_challenge_ack_limit
UNLIMITED=2147483647	# what this kernel gives to a new namespace

require_command awk ip sysctl python3
require_config CONFIG_NET_NS CONFIG_INET
require_file "/proc/sys/${SYSCTL//.//}"
require_ko "$LP" "$NAIVE" test_klp_challenge test_klp_atomic_replace test_klp_successor
ktap_plan 17

# ---- the limit of a namespace; `init` is the one that the script runs in ----

limit_of()
{
	if [ "$1" = init ]; then
		sysctl -n "$SYSCTL"
	else
		in_ns "$1" sysctl -n "$SYSCTL"
	fi
}

set_limit()
{
	if [ "$1" = init ]; then
		run sysctl -q -w "$SYSCTL=$2"
	else
		run ip netns exec "$1" sysctl -q -w "$SYSCTL=$2"
	fi
}

# netns_at NAME LIMIT: a new namespace with that limit
netns_at()
{
	netns_add "$1"
	set_limit "$1" "$2"
}

# expect_limits NAME=VALUE…: as it is, and as a line of the transcript
expect_limits()
{
	local pair value

	for pair in "$@"; do
		value=$(limit_of "${pair%%=*}")
		log "# ${pair%%=*}: $SYSCTL = $value"
		expect_eq "$SYSCTL in ${pair%%=*}" "${pair#*=}" "$value"
	done
}

enable()
{
	load_lp "$LP" "$@"
}

disable()
{
	disable_lp "$LP"
	unload_mod "$LP"
}

# ---- traffic ----------------------------------------------------------------
#
# A limit of L gives each second of jiffies a budget drawn between L/2 and 3L/2. When
# those seconds begin cannot be known from outside, so nothing here looks at the clock:
# syn_flood.py says how many of them a burst can have touched at most, and repeats one
# that touched more than three. So these do not overlap, on however slow a machine:
#
#     limit    least     most in three seconds
#       100       50       447
#      1000      500      4497     (and all, when there is no limit)

# flood NS COUNT [OPTION…]: into the array BURSTS, one line for each; 3 if too slow
flood()
{
	local ns=$1 count=$2 rc=0

	shift 2
	in_ns "$ns" "$KLP_DIR/syn_flood.py" --count "$count" --max-windows 3 "$@" \
		> "$KLP_TMP/flood" || rc=$?
	sed "s/^/$ns: /" "$KLP_TMP/flood"
	if [ "$rc" -eq 3 ]; then
		return 3
	fi
	expect_eq "status of syn_flood.py" 0 "$rc"
	grep -qx alive=1 "$KLP_TMP/flood" || fail "the connection did not survive"
	mapfile -t BURSTS < <(grep '^sent=' "$KLP_TMP/flood")
}

too_slow()
{
	skip "this machine cannot send $1 packets in two seconds"
}

# value_of KEY LINE
value_of()
{
	local word

	for word in $2; do
		if [ "${word%%=*}" = "$1" ]; then
			echo "${word#*=}"
			return 0
		fi
	done
	fail "no $1 in: $2"
}

# expect_limited NS LIMIT [OPTION…]: traffic there is held to that limit, and has all of it
expect_limited()
{
	local ns=$1 limit=$2 half=$((($2 + 1) / 2)) line arrived acks most above

	shift 2
	# More than the limit can let through, or else at least what it must let through.
	above=$(((limit + half) * 3 + 500))
	if ! flood "$ns" "$above" "$@"; then
		[ "$above" -gt 1000 ] || too_slow "$above"
		diag "too slow to see that more than $limit are held back"
		above=
		flood "$ns" 1000 "$@" || too_slow 1000
	fi
	for line in "${BURSTS[@]}"; do
		arrived=$(value_of arrived "$line")
		acks=$(value_of challenge_ack "$line")
		most=$(((limit + half - 1) * $(value_of windows "$line")))
		expect_eq "held back by the limit of the connection" 0 \
			"$(value_of skipped "$line")"
		if [ "$arrived" -lt "$half" ] || { [ -n "$above" ] && [ "$arrived" -le "$most" ]; }; then
			fail "only $arrived packets arrived: that shows no limit of $limit"
		fi
		if [ "$acks" -lt "$half" ] || [ "$acks" -gt "$most" ]; then
			fail "limit $limit: $acks challenge ACKs, not between $half and $most"
		fi
	done
}

# One connection takes all: its own limit must not hide that of the namespace.
no_socket_limit()
{
	in_ns "$1" sysctl -q -w net.ipv4.tcp_invalid_ratelimit=0
}

# ---- the cases ----------------------------------------------------------------

unknown_order()
{
	load_fails EINVAL "$LP" when=nonsense
	expect_log "$LP" <<-'EOF'
		~ sysctl_update: .*when.*
	EOF
}

main_case()
{
	save_sysctl "$SYSCTL"
	set_limit init 100
	netns_at klp-old 100
	netns_at klp-admin 500
	netns_add klp-new
	expect_limits init=100 klp-old=100 klp-admin=500 klp-new="$UNLIMITED"
	enable when=pre
	expect_limits init=1000 klp-old=1000 klp-admin=500 klp-new="$UNLIMITED"
	disable
	expect_limits init=100 klp-old=100 klp-admin=500 klp-new="$UNLIMITED"
	check_transcript sysctl-update "$LP"
}

order_pre()
{
	netns_at klp-old 100
	enable	# pre is the default
	expect_file "/sys/module/$LP/parameters/when" pre
	expect_limits klp-old=1000
	disable
	expect_limits klp-old=100
	expect_log livepatch "$LP" <<-'EOF'
		...
		livepatch: 'sysctl_update': initializing patching transition
		~ sysctl_update: pre_patch: vmlinux.*
		~ sysctl_update: .*from 100 to 1000.*
		livepatch: 'sysctl_update': starting patching transition
		livepatch: 'sysctl_update': completing patching transition
		~ sysctl_update: post_patch: vmlinux.*
		livepatch: 'sysctl_update': patching complete
		livepatch: 'sysctl_update': initializing unpatching transition
		~ sysctl_update: pre_unpatch: vmlinux.*
		livepatch: 'sysctl_update': starting unpatching transition
		livepatch: 'sysctl_update': completing unpatching transition
		~ sysctl_update: post_unpatch: vmlinux.*
		~ sysctl_update: .*from 1000 to 100.*
		livepatch: 'sysctl_update': unpatching complete
	EOF
}

order_post()
{
	netns_at klp-old 100
	enable when=post
	expect_file "/sys/module/$LP/parameters/when" post
	expect_limits klp-old=1000
	disable
	expect_limits klp-old=100
	expect_log livepatch "$LP" <<-'EOF'
		...
		livepatch: 'sysctl_update': initializing patching transition
		~ sysctl_update: pre_patch: vmlinux.*
		livepatch: 'sysctl_update': starting patching transition
		livepatch: 'sysctl_update': completing patching transition
		~ sysctl_update: post_patch: vmlinux.*
		~ sysctl_update: .*from 100 to 1000.*
		livepatch: 'sysctl_update': patching complete
		livepatch: 'sysctl_update': initializing unpatching transition
		~ sysctl_update: pre_unpatch: vmlinux.*
		~ sysctl_update: .*from 1000 to 100.*
		livepatch: 'sysctl_update': starting unpatching transition
		livepatch: 'sysctl_update': completing unpatching transition
		~ sysctl_update: post_unpatch: vmlinux.*
		~ sysctl_update: 0 limits from 1000 to 100
		livepatch: 'sysctl_update': unpatching complete
	EOF
}

come_and_go()
{
	netns_at klp-stays 100
	netns_at klp-dies 100
	netns_at klp-again 100
	enable
	expect_limits klp-stays=1000 klp-dies=1000 klp-again=1000

	run ip netns del klp-dies
	# Another namespace under a name that the patch may have seen.
	run ip netns del klp-again
	netns_at klp-again 1000
	# 1000 and 100, but the patch did not give the one and never saw the other.
	netns_at klp-born 1000
	netns_at klp-late 100
	netns_add klp-fresh
	expect_limits klp-fresh="$UNLIMITED" klp-late=100

	disable
	expect_limits klp-stays=100 klp-again=1000 klp-born=1000 klp-late=100 \
		klp-fresh="$UNLIMITED"
}

# The memory of a dead namespace is free when two rounds of cleanup_net() have come after its own, one after the other. A
# round begins with the ids by which others know the namespace.
without_id()
{
	! ip netns list-id | grep -qE "^nsid $1( |\$)"
}

another_in_its_place()
{
	local i round

	for i in 1 2 3 4; do
		netns_at "klp-dies$i" 100
	done
	enable
	for round in 1 2 3; do
		netns_add klp-round
		ip netns set klp-round "$round"
		if [ "$round" -eq 1 ]; then
			for i in 1 2 3 4; do
				run ip netns del "klp-dies$i"
			done
		fi
		run ip netns del klp-round
		wait_for without_id "$round" || fail "namespaces do not go"
	done
	for i in 1 2 3 4; do
		netns_at "klp-born$i" 1000
	done
	disable
	expect_limits klp-born1=1000 klp-born2=1000 klp-born3=1000 klp-born4=1000
}

changed_meanwhile()
{
	local order

	netns_at klp-admin 100
	netns_at klp-old 100
	for order in pre post; do
		enable when="$order"
		set_limit klp-admin 700
		expect_limits klp-admin=700 klp-old=1000
		disable
		expect_limits klp-admin=700 klp-old=100
		set_limit klp-admin 100
	done
}

traffic()
{
	local line round=0

	netns_at klp-old 100
	no_socket_limit klp-old
	expect_limited klp-old 100
	enable
	expect_limited klp-old 1000 --bursts 3
	# A budget that is not drawn is the limit itself, in each second anew.
	# A burst across two seconds can hide that; the case of the reader below cannot.
	for line in "${BURSTS[@]}"; do
		if [ $(($(value_of challenge_ack "$line") % 1000)) -eq 0 ]; then
			round=$((round + 1))
		fi
	done
	[ "$round" -le 1 ] || fail "the budget is not random: $round of 3 are round"
	disable
	expect_limited klp-old 100
}

# The same limit holds for connections that are still being set up.
traffic_half_open()
{
	netns_at klp-old 100
	no_socket_limit klp-old
	in_ns klp-old ip route add 192.0.2.0/24 dev lo
	expect_limited klp-old 100 --half-open
	enable
	expect_limited klp-old 1000 --half-open
	disable
}

traffic_own_limit()
{
	local line

	netns_at klp-low 20
	no_socket_limit klp-low
	netns_add klp-new
	no_socket_limit klp-new
	enable
	expect_limited klp-low 20
	flood klp-new 1000 || too_slow 1000
	disable
	line=${BURSTS[0]}
	expect_eq "challenge ACKs without a limit" \
		"$(value_of arrived "$line")" "$(value_of challenge_ack "$line")"
}

# The replaced functions begin with the limit of the connection; it must not be lost.
traffic_socket_limit()
{
	local line arrived option

	netns_add klp-new
	in_ns klp-new ip route add 192.0.2.0/24 dev lo
	# Milliseconds, longer than any burst.
	in_ns klp-new sysctl -q -w net.ipv4.tcp_invalid_ratelimit=600000
	enable
	for option in "" --half-open; do
		flood klp-new 1000 ${option:+"$option"} || too_slow 1000
		line=${BURSTS[0]}
		arrived=$(value_of arrived "$line")
		expect_eq "challenge ACKs in ten minutes" 1 "$(value_of challenge_ack "$line")"
		expect_eq "held back" $((arrived - 1)) "$(value_of skipped "$line")"
	done
	disable
}

# Who draws the random budget: the kernel's function, or the one in the module?
drawn_by()
{
	local trace=/sys/kernel/tracing/instances/klp-test

	echo > "$trace/trace"
	in_ns klp-old "$KLP_DIR/syn_flood.py" --count 20 >&2
	sed -nE 's/.*__get_random_u32_below.* <-(.*)/\1/p' "$trace/trace" | sort | uniq -c
}

reader()
{
	local trace=/sys/kernel/tracing/instances/klp-test callers

	require_file /sys/kernel/tracing/instances
	netns_at klp-old 100
	no_socket_limit klp-old
	on_exit rmdir "$trace"
	mkdir "$trace"
	echo __get_random_u32_below > "$trace/set_ftrace_filter"
	echo 1 > "$trace/options/sym-offset"
	on_exit restore_file "$trace/current_tracer" nop
	echo function > "$trace/current_tracer"

	callers=$(drawn_by)
	grep -qE ' tcp_(send_challenge_ack|challenge_ack_allowed)\+' <<< "$callers" ||
		fail "before: not drawn by the kernel's reader: $callers"
	enable
	expect_file "$KLP_SYSFS/$LP/vmlinux/patched" 1
	[ -d "$KLP_SYSFS/$LP/vmlinux/tcp_send_challenge_ack,1" ] ||
		fail "the reader is not replaced"
	callers=$(drawn_by)
	grep -qF "[$LP]" <<< "$callers" || fail "patched: not drawn by $LP: $callers"
	if grep -E ' tcp_(send_challenge_ack|challenge_ack_allowed)\+' <<< "$callers"; then
		fail "patched: the kernel's reader still runs"
	fi
	disable
	callers=$(drawn_by)
	grep -qE ' tcp_(send_challenge_ack|challenge_ack_allowed)\+' <<< "$callers" ||
		fail "after: not drawn by the kernel's reader: $callers"
}

under_traffic()
{
	local flooder order

	netns_at klp-old 100
	no_socket_limit klp-old
	# Not in_ns: the signal below must reach the program, not a shell around it.
	ip netns exec klp-old "$KLP_DIR/syn_flood.py" --count 1000000000 \
		> "$KLP_TMP/background" &
	flooder=$!
	wait_for syns_arrive klp-old || fail "no SYN was ever sent"
	for order in pre post pre post; do
		enable when="$order"
		expect_limits klp-old=1000
		disable
		expect_limits klp-old=100
	done
	kill -TERM "$flooder"
	wait "$flooder"
	cat "$KLP_TMP/background"
	grep -qx alive=1 "$KLP_TMP/background" || fail "the connection did not survive"
}

syns_arrive()
{
	# shellcheck disable=SC2016 # the dollars are awk's
	in_ns "$1" awk '/^TcpExt:/ {
		if (!n++)
			split($0, name)
		else
			for (i in name)
				if (name[i] == "TCPSYNChallenge")
					exit $i == 0
	}' /proc/self/net/netstat
}

# Whoever holds RTNL may wait for a module, and that one for klp_mutex (book/src/model/context.md). So no callback waits
# for RTNL.
module_under_rtnl()
{
	under_rtnl_needs
	netns_at klp-old 100
	hold_rtnl
	unload_later "$LP"
	begin_to insmod "$(find_ko "$LP")"
	wait_for log_has "'$LP': patching complete" || {
		kill "$MODPROBE" # before it waits for the callback
		fail "a callback waits for RTNL"
	}
	expect_limits klp-old=1000
	write_file "$KLP_SYSFS/$LP/enabled" 0 &
	wait_for test ! -e "$KLP_SYSFS/$LP" || {
		kill "$MODPROBE"
		fail "a callback waits for RTNL"
	}
	expect_limits klp-old=100
	loaded_under_rtnl
	unload_mod "$LP"
}

# A replacement that differs from its original in anything but the fix is a defect. Here nothing may differ: the kernel has
# had this fix for years.
as_the_original()
{
	local limits=0,1,2,99,100,101,1000,2147483645,2147483646,2147483647,-1,-100,-2147483648 limit draws

	load_mod test_klp_challenge
	netns_add klp-old
	no_socket_limit klp-old
	in_ns klp-old "$KLP_DIR/syn_flood.py" --limits="$limits" > "$KLP_TMP/original"
	while IFS=: read -r limit draws; do
		case $limit:$draws in
		"limit $UNLIMITED: draws 0" | "alive=1:") ;;
		"limit $UNLIMITED:"*) fail "the original draws where there is no limit:$draws" ;;
		*": draws 1 "*) ;;
		*) fail "$limit: the original did not draw once:$draws" ;;
		esac
	done < "$KLP_TMP/original"
	enable
	in_ns klp-old "$KLP_DIR/syn_flood.py" --limits="$limits" > "$KLP_TMP/new"
	cat "$KLP_TMP/new" >&2
	diff "$KLP_TMP/original" "$KLP_TMP/new" >&2 || fail "^ the replacement draws in another way"
	disable
	unload_mod test_klp_challenge
}

# Its change outlives it, so a successor must know of it.
declared()
{
	netns_at klp-old 100
	enable
	keeps_its_state "$LP" expect_limits klp-old=1000
}

# ANCHOR: naive
naive()
{
	save_sysctl "$SYSCTL"
	set_limit init 500
	netns_at klp-old 100
	load_lp "$NAIVE"
	# The choice of an administrator is gone, and the limit that is too low is still there.
	expect_limits init=1000 klp-old=100
	disable_lp "$NAIVE"
	# What was there is lost.
	expect_limits init=100 klp-old=100
	unload_mod "$NAIVE"
	check_transcript naive-sysctl-update "$NAIVE"
}
# ANCHOR_END: naive

ktap_case "an unknown order is refused with EINVAL" unknown_order
ktap_case "values before, during and after, as in the transcript" main_case
ktap_case "R1: when=pre raises before the transition starts" order_pre
ktap_case "R1: when=post raises after every task has moved" order_post
ktap_case "namespaces that come and go while the patch is on" come_and_go
ktap_case "a namespace in the place of a dead one is left alone" another_in_its_place
ktap_case "a value changed meanwhile is left alone" changed_meanwhile
ktap_case "traffic is held to 100, to 1000, to 100 again" traffic
ktap_case "half-open connections are held to the same limits" traffic_half_open
ktap_case "each namespace's own limit holds, or none" traffic_own_limit
ktap_case "the limit of the connection still holds" traffic_socket_limit
ktap_case "the budget is drawn by the new reader" reader
ktap_case "enabled and disabled under traffic, both orders" under_traffic
ktap_case "a module is loaded under RTNL while the livepatch comes and goes" module_under_rtnl
ktap_case "the budget is that of the original at every limit" as_the_original
ktap_case "R13: a successor that does not know of the limits is refused" declared
ktap_case "naive: one namespace is changed, whatever its limit was" naive
ktap_finish

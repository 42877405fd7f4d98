# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Somebody holds RTNL and waits for a module meanwhile, as the network stack does for a congestion control, a mode of
# team or a cipher of macsec. Source it after functions.sh.
#
# A module that loads waits for klp_mutex (klp_module_coming()). So whoever waits for RTNL under klp_mutex, in a
# callback for instance, waits for ever from here on.

MODULE_UNDER_RTNL=rules_other

under_rtnl_needs()
{
	require_command ip
	require_ko "$MODULE_UNDER_RTNL"
	require_file /proc/sys/kernel/modprobe /proc/self/stack
}

# A task holds RTNL now (ROUTE is its pid); the module loads (MODPROBE) when load_under_rtnl is called.
hold_rtnl()
{
	rm -f "$KLP_TMP/asked" "$KLP_TMP/go"
	cat > "$KLP_TMP/modprobe" <<-EOF
		#!/bin/sh
		echo \$\$ > "$KLP_TMP/asked"
		until [ -e "$KLP_TMP/go" ]; do sleep 0.1; done
		exec insmod "$(find_ko "$MODULE_UNDER_RTNL")"
	EOF
	chmod +x "$KLP_TMP/modprobe"
	save_file /proc/sys/kernel/modprobe
	unload_later "$MODULE_UNDER_RTNL"
	# First of the three to be taken back: the helper waits for it, and what it loads can be removed only then.
	on_exit end_modprobe
	echo "$KLP_TMP/modprobe" > /proc/sys/kernel/modprobe
	log "% ip route add 10.8.0.0/16 dev lo congctl none"
	ip route add 10.8.0.0/16 dev lo congctl none &
	ROUTE=$!
	wait_for test -s "$KLP_TMP/asked" || fail "ip did not ask for a module"
	# shellcheck disable=SC2034 # for the scripts that source this file
	MODPROBE=$(cat "$KLP_TMP/asked")
	stack_has "$ROUTE" rtnetlink_rcv_msg || fail "ip does not hold RTNL: $(cat "/proc/$ROUTE/stack")"
}

end_modprobe()
{
	load_under_rtnl
	if read_file "$KLP_TMP/asked"; then
		wait_for test ! -d "/proc/$REPLY"
	fi
}

load_under_rtnl()
{
	touch "$KLP_TMP/go"
}

# The module is there, and whoever waited for it has gone on.
loaded_under_rtnl()
{
	load_under_rtnl
	wait "$ROUTE" || true # there is no such congestion control
	[ -d "/sys/module/$MODULE_UNDER_RTNL" ] || fail "$MODULE_UNDER_RTNL was not loaded"
	unload_mod "$MODULE_UNDER_RTNL"
}

# begin_to CMD…: in the background; BEGUN is its pid
begin_to()
{
	klp__log_command "$@"
	"$@" &
	# shellcheck disable=SC2034 # as above
	BEGUN=$!
}

# stack_has PID FUNCTION: whether the task is in it
stack_has()
{
	grep -qE "\\] $2(\\.[a-z.0-9]+)?\\+" "/proc/$1/stack" 2>/dev/null
}

# frames PID FUNCTION…: those of them that the task is in, the innermost first
frames()
{
	local pid=$1

	shift
	sed -nE "s/.*\\] ([A-Za-z_0-9]+)[.+].*/\\1/p" "/proc/$pid/stack" | grep -xF "$(printf '%s\n' "$@")" |
		tr '\n' '<' | sed 's/<$//; s/</ < /g'
}

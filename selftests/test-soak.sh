#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Livepatches are loaded, reversed, disabled and removed again and again, while their targets come and go, a
# processor goes off- and online, memory gets scarce and tasks run through what is being replaced. At the end
# the system is as it was before.
#
# What happens, and in which order, is drawn from KLP_SEED (printed; by default another one each time); when it
# happens is up to the machine. KLP_CYCLES (100) is how many loads there are, KLP_SOAK_SECONDS (240) the longest time.
#
# On a machine that is somebody's, `make run_tests` for example, it wants to be asked: by KLP_SEED.
#
# What happens at once on two processors is what is looked for, and one of them goes away. Not only the end counts: whenever
# a livepatch is in force, after a reversal too, what it changes must be as it says.
#
# xtask: clock=real cpus=2 nics=1
# xtask: modules=asm-trampoline,deferred-work,failing-pre-patch,function-fix,netdev-features,raw-opener,selftests
# xtask: modules=shadow-data,state-handover,sysctl-update

. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/rules.sh"

SEED=${KLP_SEED:-$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')}
CYCLES=${KLP_CYCLES:-100}
SECONDS_MAX=${KLP_SOAK_SECONDS:-240}
LIMIT=net.ipv4.tcp_challenge_ack_limit
PATCHES=("rules_all" "sysctl_update when=pre" "sysctl_update when=post" "failing_pre_patch" "deferred_work" "raw_opener" "shadow_data"
	"asm_trampoline" "state_handover" "netdev_features" "function_fix" "rules_subset_1")
TARGETS=(rules_target rules_other asm_target dummy veth)
CPU=/sys/devices/system/cpu/cpu1/online

# ---- what must be the same in the end ---------------------------------------

# What livepatches change, and have to give back before they go.
values()
{
	sysctl "$LIMIT" net.core.max_skb_frags net.core.rmem_max net.core.wmem_max kernel.overflowuid
	awk 'NR == 1 { print $NF }' /proc/softirqs
	awk 'NR == 1 { print $NF }' /proc/net/raw
	name_verdict
	gro
}

gro()
{
	local nic

	for nic in /sys/bus/virtio/drivers/virtio_net/virtio*/net/*; do
		[ ! -d "$nic" ] || ethtool -k "${nic##*/}" | sed -n 's/^generic-receive-offload: //p'
	done
}

# May a network device be called ESC? One reader at a time.
name_verdict()
{
	grep '^1b00 ' /proc/test_klp_names
}

# in_force LIVEPATCH: what it changes is as it says
in_force()
{
	case $1 in
	sysctl_update) file_is "/proc/sys/${LIMIT//.//}" 1000 ;;
	failing_pre_patch) file_is /proc/sys/net/core/max_skb_frags 8 ;;
	state_handover)
		file_is /proc/sys/net/core/rmem_max 4194304 && file_is /proc/sys/net/core/wmem_max 4194304
		;;
	deferred_work) [ "$(awk 'NR == 1 { print $NF }' /proc/softirqs)" = peak/10ms ] ;;
	raw_opener) [ "$(awk 'NR == 1 { print $NF }' /proc/net/raw)" = opener ] ;;
	# Without the patch it depends on who is quicker.
	shadow_data) [ ! -d /sys/class/net/mon1 ] || [ "$("$KLP_DIR/wpan.py" join wpan0 mon1 1111 2222)" = "wpan0 is 1111" ] ;;
	function_fix) [ "$(name_verdict)" = "1b00 refused" ] ;;
	netdev_features) ! gro | grep -vxF "off [fixed]" ;;
	rules_all) file_is "$UID_FILE" 60001 ;;
	esac
}

sound()
{
	local file

	values
	cut -d ' ' -f 1,3 /proc/modules | sort
	ls "$KLP_SYSFS"
	for file in /sys/kernel/debug/kprobes/list /sys/kernel/tracing/enabled_functions; do
		if [ -e "$file" ]; then
			# shellcheck disable=SC2016 # the dollar is awk's
			awk -v file="${file##*/}" 'NF { print file, $1 }' "$file" | sort
		fi
	done
	for file in /proc/[0-9]*/patch_state; do
		# No task is left in a transition.
		cat "$file" 2>/dev/null || true
	done | sort -u
}

# ---- who disturbs -------------------------------------------------------------

# draw N: a number below N, into DRAWN
draw()
{
	DRAWN=$((RANDOM % $1))
}

nap()
{
	draw "$1"
	sleep "$(printf '0.%03d' "$DRAWN")"
}

# Ends, as all who disturb, when it can finish what it has begun.
going_on()
{
	[ ! -e "$KLP_TMP/enough" ]
}

targets_come_and_go()
{
	local target out

	RANDOM=$((SEED + 1))
	while going_on; do
		draw "${#TARGETS[@]}"
		target=${TARGETS[DRAWN]}
		if [ -d "/sys/module/$target" ]; then
			# It may be busy for a moment, as a livepatch looks at it.
			rmmod "$target" 2>/dev/null || true
		elif ! out=$(add_module "$target" 2>&1); then
			# failing_pre_patch refuses veth and dummy while the limit is not its own.
			grep -qE 'resource busy|File exists' <<< "$out" || {
				echo "$target: $out" >> "$KLP_TMP/bad"
			}
		fi
		echo "$target" >> "$KLP_TMP/moved"
		nap 400
	done
}

add_module()
{
	local ko

	if ko=$(find_ko "$1"); then
		insmod "$ko"
	else
		modprobe "$1"
	fi
}

processors_come_and_go()
{
	RANDOM=$((SEED + 2))
	while going_on; do
		echo 0 > "$CPU" || echo "cannot take the processor away" >> "$KLP_TMP/bad"
		nap 200
		echo 1 > "$CPU" || echo "cannot bring the processor back" >> "$KLP_TMP/bad"
		echo 1 >> "$KLP_TMP/hotplugged"
		nap 900
	done
}

# Takes most of the memory that is there, touches it, gives it back.
memory_gets_scarce()
{
	echo 1000 > /proc/self/oom_score_adj
	exec python3 - "$KLP_TMP/enough" <<-'EOF'
		import os, sys, time
		while not os.path.exists(sys.argv[1]):
		    free = next(int(l.split()[1]) for l in open("/proc/meminfo") if l.startswith("MemAvailable"))
		    hog = []
		    for _ in range(max(1, free * 7 // 10 // 4096)):
		        hog.append(bytearray(4 << 20))
		        hog[-1][::4096] = b"x" * 1024
		        if os.path.exists(sys.argv[1]):
		            break
		    time.sleep(0.5)
		    del hog
		    time.sleep(0.5)
	EOF
}

# Tasks in the replaced functions. Not those of asm_target: in Linux 7.2 a debugfs file that a Rust module makes does
# not hold the module (its operations have no owner), and to close one that is gone is a use after free.
readers()
{
	exec python3 - "$KLP_TMP/enough" <<-'EOF'
		import fcntl, os, socket, struct, sys
		count = 0
		while not os.path.exists(sys.argv[1]):
		    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 1 + count % 200) as s:
		        try:
		            # Nobody takes this name.
		            fcntl.ioctl(s, 0x8923, struct.pack("16s24s", b"lo", b"a/b"))  # SIOCSIFNAME
		        except OSError:
		            pass
		        for path in ["/proc/net/raw", "/proc/softirqs", "/proc/rules_target"]:
		            try:
		                open(path).read()
		            except OSError:
		                pass  # its module is not there
		    count += 1
	EOF
}

# Opens and closes raw sockets, and never finds one of its own under another name: neither while tasks move nor after a
# reversal, when the fields of before may be those of sockets that were closed by the old function.
opener()
{
	exec python3 - "$KLP_TMP/enough" "$KLP_TMP/bad" "$KLP_TMP/opened" "$1" "$2" <<-'EOF'
		import os, socket, sys, time
		enough, bad, opened, name, protocol = sys.argv[1:]
		open("/proc/self/comm", "w").write(name)
		mine = ("?", "-", f"{name}[{os.getpid()}]")
		while not os.path.exists(enough):
		    sockets = [socket.socket(socket.AF_INET, socket.SOCK_RAW, int(protocol)) for _ in range(20)]
		    for _ in range(3):
		        for line in open("/proc/net/raw"):
		            fields = line.split()
		            if fields[1].endswith(":%04X" % int(protocol)) and len(fields) > 13 and fields[13] not in mine:
		                open(bad, "a").write(f"{name}: {line}")
		            if fields[-1] == mine[2]:
		                open(opened, "a").write("1\n")
		        time.sleep(0.05)
		    for s in sockets:
		        s.close()
	EOF
}

# A transition waits, until the next look a second later, for whoever runs on another processor in that moment: always
# one, then, as long as there is another processor. Without it most transitions would end before they can be reversed.
always_running()
{
	exec python3 - "$KLP_TMP/enough" <<-'EOF'
		import os, sys
		while not os.path.exists(sys.argv[1]):
		    for _ in range(100000):
		        pass
	EOF
}

# ---- the livepatches ----------------------------------------------------------

# May come too late, or while another transition runs: both are refused, and neither does harm.
turn()
{
	{ echo "$2" > "$KLP_SYSFS/$1/enabled"; } 2>/dev/null && TURNS=$((TURNS + 1))
	return 0
}

has_ended()
{
	[ ! -e "$KLP_SYSFS/$1" ] || file_is "$KLP_SYSFS/$1/transition" 0
}

is_off()
{
	# Whoever was refused asks again.
	if file_is "$KLP_SYSFS/$1/enabled" 1; then
		{ echo 0 > "$KLP_SYSFS/$1/enabled"; } 2>/dev/null
	fi
	[ ! -e "$KLP_SYSFS/$1" ]
}

is_removed()
{
	[ ! -d "/sys/module/$1" ] || rmmod "$1" 2>/dev/null
}

one_cycle()
{
	local words mod ko out turns

	draw "${#PATCHES[@]}"
	read -r -a words <<< "${PATCHES[DRAWN]}"
	mod=${words[0]}
	ko=$(find_ko "$mod") || fail "no $mod.ko"
	NOW=${words[*]}
	log "# soak: $NOW"
	if ! out=$(insmod "$ko" "${words[@]:1}" 2>&1); then
		# failing_pre_patch wants to be asked again (EAGAIN), or meets veth under the old limit.
		grep -qE 'resource busy|temporarily unavailable' <<< "$out" || fail "$mod: $out"
		REFUSED=$((REFUSED + 1))
		return 0
	fi
	draw 4
	turns=$DRAWN
	while [ "$turns" -gt 0 ]; do
		# At once, or a little later.
		draw 2
		[ "$DRAWN" -eq 0 ] || nap 300
		turn "$mod" 0
		nap 100
		turn "$mod" 1
		turns=$((turns - 1))
	done
	wait_for has_ended "$mod" || fail "the transition of $mod does not end: $(stuck_tasks)"
	if file_is "$KLP_SYSFS/$mod/enabled" 1; then
		# Work may have to run before.
		wait_for in_force "$mod" || fail "$mod is enabled after $TURNS turns, and not in force: $(values)"
		CHECKED=$((CHECKED + 1))
	fi
	nap 300
	wait_for is_off "$mod" || fail "$mod cannot be disabled: $(stuck_tasks)"
	wait_for is_removed "$mod" || fail "$mod cannot be removed"
}

soak()
{
	local started pid pids=() cycle=0 reversals

	: > "$KLP_TMP/bad"
	: > "$KLP_TMP/moved"
	: > "$KLP_TMP/hotplugged"
	: > "$KLP_TMP/opened"
	for mod in "${TARGETS[@]}" "${PATCHES[@]%% *}"; do
		unload_later "$mod"
	done
	save_sysctl "$LIMIT" net.core.max_skb_frags net.core.rmem_max net.core.wmem_max
	sysctl -q -w "$LIMIT=100" net.core.max_skb_frags=17 net.core.rmem_max=212992 net.core.wmem_max=212992
	uid_65534
	if modprobe -nq mac802154_hwsim; then
		load_mod mac802154_hwsim
		ip link set wpan0 up
		"$KLP_DIR/wpan.py" monitor wpan1 mon1
		ip link set mon1 up
	fi
	# A kernel that has the lock itself refuses it.
	if run insmod "$(find_ko shadow_data)" 2> "$KLP_TMP/said"; then
		wait_transition shadow_data
		disable_lp shadow_data
		unload_mod shadow_data
	else
		grep -q "Invalid module format" "$KLP_TMP/said" || fail "$(cat "$KLP_TMP/said")"
		PATCHES=("${PATCHES[@]/#shadow_data/rules_subset_1}")
	fi
	load_mod test_klp_names
	values > "$KLP_TMP/values"
	sound > "$KLP_TMP/before"
	on_exit restore_file "$CPU" 1

	diag "seed $SEED, at most $CYCLES cycles and $SECONDS_MAX s"
	targets_come_and_go & pids+=($!)
	processors_come_and_go & pids+=($!)
	memory_gets_scarce & pids+=($!)
	readers & pids+=($!)
	opener opener1 250 & pids+=($!)
	opener opener2 251 & pids+=($!)
	always_running & pids+=($!)
	log_mark

	RANDOM=$SEED
	TURNS=0
	REFUSED=0
	CHECKED=0
	started=$SECONDS
	while [ "$cycle" -lt "$CYCLES" ] && [ $((SECONDS - started)) -lt "$SECONDS_MAX" ]; do
		one_cycle
		cycle=$((cycle + 1))
		values | diff -u "$KLP_TMP/values" - >&2 || fail "^ $NOW has left that behind, in cycle $cycle"
	done
	# Some of it may have been overwritten.
	reversals=$(dmesg | grep -c 'reversing transition' || true)
	diag "$cycle cycles in $((SECONDS - started)) s: $TURNS turns, $reversals reversals, $REFUSED loads refused, $CHECKED found in force," \
		"$(wc -l < "$KLP_TMP/moved") comings and goings of targets, $(wc -l < "$KLP_TMP/hotplugged") of a processor"

	touch "$KLP_TMP/enough"
	for pid in "${pids[@]}"; do
		# The hog is the first whom a kernel without memory kills.
		wait "$pid" || [ $? -eq 137 ] || fail "who disturbs has died: $pid"
	done
	for mod in "${TARGETS[@]}"; do
		wait_for is_removed "$mod" || fail "$mod cannot be removed"
	done
	[ ! -s "$KLP_TMP/bad" ] || fail "$(cat "$KLP_TMP/bad")"
	expect_file "$CPU" 1
	[ "$cycle" -gt 4 ] || fail "only $cycle cycles: this machine is too slow to say anything"
	[ -s "$KLP_TMP/hotplugged" ] || fail "no processor ever went"
	[ -s "$KLP_TMP/moved" ] || fail "no target ever came"
	[ "$CHECKED" -gt 0 ] || fail "no livepatch was ever found in force"
	sound > "$KLP_TMP/after"
	diff -u "$KLP_TMP/before" "$KLP_TMP/after" >&2 || fail "^ the system is not as before"
}

if [ "${KLP_GUEST:-}" != 1 ] && [ -z "${KLP_SEED:-}" ]; then
	skip "takes memory and a processor away: set KLP_SEED to run it on this machine"
fi
require_command awk ethtool python3 sysctl
require_config CONFIG_HOTPLUG_CPU
require_file "$CPU"
require_module veth dummy virtio_net
modprobe virtio_net
rules_needs rules_all rules_target rules_other rules_subset_1 asm_target test_klp_names "${PATCHES[@]%% *}"
ktap_plan 1
ktap_case "many cycles leave the system as it was" soak
ktap_finish

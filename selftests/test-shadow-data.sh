#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# samples/shadow-data: /proc/net/raw names the process that opened each raw socket, by a
# field that struct sock lacks: attached to the sockets that are there and to those that
# come, freed with them.
#
# With a second processor a transition takes until that one's idle task has seen it: so it can be reversed.
#
# xtask: cpus=2 modules=shadow-data,naive-shadow-data,selftests

. "$(dirname "$0")/functions.sh"

LP=shadow_data
NAIVE=naive_shadow_data

require_command ip python3 awk
require_file /proc/net/raw
require_ko "$LP" "$NAIVE" test_klp_atomic_replace test_klp_successor
ktap_plan 10

# hold NAME PROTOCOL [COUNT]: a process of that name holds raw sockets until it is killed
hold()
{
	python3 -c '
import socket, sys, time
name, protocol, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
open("/proc/self/comm", "w").write(name)
sockets = [socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) for _ in range(count)]
time.sleep(900)' "$1" "$2" "${3:-1}" &
	HOLDER=$!
	wait_for has_sockets "$2" "${3:-1}" || fail "$1 did not open ${3:-1} sockets"
}

# has_sockets PROTOCOL COUNT
has_sockets()
{
	[ "$(openers "$1" | wc -l)" -eq "$2" ]
}

# openers PROTOCOL: a line for each raw socket of it, with the opener behind the last colon
openers()
{
	awk -v at="$(printf ':%04X' "$1")" \
		'substr($2, 9) == at { print "socket:", $14 }' /proc/net/raw
}

# expect_opener PROTOCOL WANTED: the socket's opener, where NAME stands for NAME[pid of it]
expect_opener()
{
	expect_eq "opener of protocol $1" "socket: $2" "$(openers "$1" | sed 's/ $//')"
}

opener_seen()
{
	# … and may show a line twice.
	SEEN=$(openers "$1" | sort -u)
	[ -n "$SEEN" ]
}

let_go()
{
	kill "$1"
	wait "$1" 2>/dev/null || true
}

# As the transcript has it: no addresses and numbers of processes, and in order, which the kernel's table
# has at random.
lines()
{
	awk 'NR == 1 { print $NF }' /proc/net/raw
	awk 'NR > 1 { print "raw socket", $2, "opened by", $14 }' /proc/net/raw |
		sed -E 's/\[[0-9]+\]$/[<pid>]/; s/ $//' | sort
}

main_case()
{
	hold early 200
	show lines
	load_lp "$LP"
	hold late 201
	show lines
	disable_lp "$LP"
	show lines
	unload_mod "$LP"
	check_transcript shadow-data "$LP"
}

who()
{
	local early late

	hold early 200
	early=$HOLDER
	load_lp "$LP"
	hold late 201
	late=$HOLDER
	expect_opener 200 "?"
	expect_opener 201 "late[$late]"
	let_go "$early"
	hold next 200
	expect_opener 200 "next[$HOLDER]"

	# A second time: nothing is left of the first.
	disable_lp "$LP"
	unload_mod "$LP"
	expect_eq "columns" 13 "$(awk 'NR == 2 { print NF }' /proc/net/raw)"
	load_lp "$LP"
	expect_opener 200 "?"
	expect_opener 201 "?"
	disable_lp "$LP"
	unload_mod "$LP"
}

# Apart from the new column each line is the kernel's own.
same_lines()
{
	local before

	hold early 200 3
	before=$(cat /proc/net/raw)
	load_lp "$LP"
	expect_eq "fields of the heading and of the lines, with the new column" "$(awk '{ print NF + 1 }' <<< "$before")" \
		"$(awk '{ print NF }' /proc/net/raw)"
	expect_eq "/proc/net/raw without its last column" "$before" \
		"$(sed -E 's/ (opener|[?])$//' /proc/net/raw)"
	disable_lp "$LP"
	expect_eq "/proc/net/raw afterwards" "$before" "$(cat /proc/net/raw)"
	unload_mod "$LP"
}

# The allocator gives the address of a socket that was closed to the next one: a field that
# outlived its socket would show there under the name of the process before.
reuse()
{
	load_lp "$LP"
	python3 - <<-'EOF' || fail "^ a socket with the opener of another one"
	import os, socket, sys
	for i in range(300):
	    ready, go = os.pipe(), os.pipe()
	    child = os.fork()
	    if child == 0:
	        open("/proc/self/comm", "w").write(f"opener{i}")
	        s = [socket.socket(socket.AF_INET, socket.SOCK_RAW, 202) for _ in range(4)]
	        os.write(ready[1], b"1")
	        os.read(go[0], 1)
	        os._exit(0)
	    os.read(ready[0], 1)
	    seen = [line.split()[13] for line in open("/proc/net/raw") if ":00CA " in line]
	    os.write(go[1], b"1")
	    os.waitpid(child, 0)
	    for fd in ready + go:
	        os.close(fd)
	    if seen != [f"opener{i}[{child}]"] * 4:
	        sys.exit(f"round {i}: {seen}")
	EOF
	disable_lp "$LP"
	unload_mod "$LP"
}

namespaces()
{
	local count

	netns_add klp-raw
	in_ns klp-raw python3 -c '
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 203)
time.sleep(900)' &
	wait_for in_ns klp-raw grep -q :00CB /proc/net/raw || fail "no socket there"
	load_lp "$LP"
	count=$(in_ns klp-raw grep -c ' ?$' /proc/net/raw)
	expect_eq "sockets there that were open before" 1 "$count"
	has_sockets 203 0 || fail "the socket shows in another namespace"
	disable_lp "$LP"
	unload_mod "$LP"
}

# Sockets come and go all the time while the patch does.
churn()
{
	local churner i

	python3 -c '
import socket
while True:
    s = [socket.socket(socket.AF_INET, socket.SOCK_RAW, 204) for _ in range(50)]
    open("/proc/net/raw").read()' &
	churner=$!
	for i in 1 2 3; do
		load_lp "$LP"
		hold "round$i" 205
		# The kernel goes through its table by counting, so a reader may miss a line while sockets go.
		wait_for opener_seen 205 || fail "a socket that is open is never shown"
		expect_eq "opener of protocol 205" "socket: round${i}[$HOLDER]" "$SEEN"
		let_go "$HOLDER"
		disable_lp "$LP"
		unload_mod "$LP"
	done
	let_go "$churner"
}

# While tasks move back, and only then, sockets die without their fields. When the user thinks better of it, their
# addresses may be those of others.
reversed()
{
	local try

	[ "$(nproc)" -gt 1 ] || skip "with one processor a transition is too quick to be reversed"
	for try in $(seq 10); do
		log_mark "try $try"
		load_lp "$LP"
		python3 - "$KLP_SYSFS/$LP/enabled" > "$KLP_TMP/openers" <<-'EOF' || fail "^ openers after a reversal"
			import socket, sys, time
			def sockets(name, protocol):
			    open("/proc/self/comm", "w").write(name)
			    return [socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) for _ in range(200)]
			def enable(what):
			    try:
			        with open(sys.argv[1], "w") as f:
			            f.write(what)
			    except OSError:
			        sys.exit(0)  # too late: it is gone
			first = sockets("first", 206)
			enable("0")
			for s in first:
			    s.close()
			time.sleep(0.2)  # RCU frees them
			second = sockets("second", 207)
			enable("1")
			while open(sys.argv[1].replace("enabled", "transition")).read() != "0\n":
			    time.sleep(0.1)
			for line in open("/proc/net/raw"):
			    if ":00CF " in line:
			        print(line.split()[13])
		EOF
		if log_has "reversing transition from unpatching to patching"; then
			break
		fi
		wait_for test ! -e "$KLP_SYSFS/$LP"
		unload_mod "$LP"
	done
	log_has "reversing transition from unpatching to patching" || fail "no transition could be reversed"
	sort "$KLP_TMP/openers" | uniq -c
	expect_eq "openers of the sockets of that time" "    200 ?" "$(sort "$KLP_TMP/openers" | uniq -c)"
	disable_lp "$LP"
	unload_mod "$LP"
}

# No socket fails for the sake of a column.
no_memory()
{
	local at

	find_ko fail_call >/dev/null || skip "fail_call.ko is not built for this kernel"
	require_file /proc/self/make-it-fail
	load_lp "$LP"
	at=$(awk '$3 == "klp_shadow_get_or_alloc" { print $1 }' /proc/kallsyms)
	load_mod fail_call "address=0x$at" retval=0
	python3 -c '
import socket
open("/proc/self/make-it-fail", "w").write("1")
s = [socket.socket(socket.AF_INET, socket.SOCK_RAW, 208) for _ in range(2)]
open("/proc/self/make-it-fail", "w").write("0")
print([line.split()[13].split("[")[0] for line in open("/proc/net/raw") if ":00D0 " in line])' > "$KLP_TMP/seen" ||
		fail "the socket failed"
	expect_file "$KLP_TMP/seen" "['-', 'python3']"
	unload_mod fail_call
	log_has "fail_call: calls: 2" || fail "not as many calls as sockets"
	disable_lp "$LP"
	unload_mod "$LP"
}

# Its fields outlive it, so a successor must know of them. They are shown by nobody then.
declared()
{
	load_lp "$LP"
	keeps_its_state "$LP" true
}

# a_socket PROTOCOL NAME: what is said of a socket of that process; of a wrong one, if there is one
a_socket()
{
	openers "$1" | sed -E "s/.*: (.*)\[.*/a socket of $2, opened by \1/" | sort -u | head -1
}

# The naive version does not free the field with the socket: whoever gets the address next
# inherits it. How many of the 200 do is chance, that one of them does is not.
naive()
{
	! has_config CONFIG_KASAN=y || skip "KASAN keeps freed memory back for a while, so no socket gets the address of another"
	load_lp "$NAIVE"
	hold first 206 200
	show a_socket 206 first
	let_go "$HOLDER"
	wait_for has_sockets 206 0
	hold second 207 200
	show a_socket 207 second
	disable_lp "$NAIVE"
	unload_mod "$NAIVE"
	check_transcript naive-shadow-data "$NAIVE"
}

ktap_case "before, during and after, as in the transcript" main_case
ktap_case "who opened: before the patch, under it, under the next" who
ktap_case "nothing else of /proc/net/raw changes" same_lines
ktap_case "a field dies with its socket" reuse
ktap_case "sockets of another namespace" namespaces
ktap_case "enabled and disabled while sockets come and go" churn
ktap_case "R14: after a reversed unpatching no socket has the opener of another" reversed
ktap_case "a socket does not fail for want of memory for the field" no_memory
ktap_case "R13: a successor that does not know of the fields is refused" declared
ktap_case "naive: a socket inherits the opener of another" naive
ktap_finish

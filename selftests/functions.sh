#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The shell library of the livepatch selftests. Source it, never run it. A script tells what it needs (require_…), then comes
# ktap_plan, then its cases, each a function, and last ktap_finish. README.md has one in full.
#
# A case runs in a subshell and process group of its own, with `set -e` and standard input closed: the first command that
# fails ends the case (never the script), and its line in the script is told. So call ktap_case as a plain command, never in
# `if`, `&&` or `||`: bash would switch `set -e` off. After the case, passed or not, its leftover processes are killed, and
# what it did through load_*, save_*, netns_add and on_exit is taken back, last first. What is done that way outside a case is
# taken back when the script ends, also by Ctrl-C or a time-out. It ends with 0 passed, 1 failed, 4 all skipped.
#
# Nothing here starts a program that the shell can do without: each costs an emulated guest 34 ms.
#
# ANCHOR: words
# The plan and its cases
#   ktap_plan N               N cases follow; one more is added by ktap_finish
#   ktap_case NAME FUNC [ARG…]  NAME has no '#'; "R7: …" names the rule it proves
#   ktap_finish               the last case: nothing is left, the kernel is sound; then exit
#   diag TEXT…                a diagnostic line
#   fail TEXT…                end the case as failed (outside: the script)
#   skip REASON…              end the case as skipped (before the plan: the script)
#
# What a script or a case needs; skips by name what is missing
#   require_command NAME…, require_file PATH…
#   require_config CONFIG_X…  built in or a module; CONFIG_X=y asks for built in; has_config
#                             asks for one
#   require_module NAME…      a module of the running kernel's own (or built in)
#   require_ko NAME…          a module of ours; with KLP_MODULES_DIR set, a missing one is a
#                             failure
#   require_output TEXT CMD…  CMD prints TEXT: what a patch mends is not mended in the
#                             kernel itself
#
# Commands and values
#   log TEXT…                 one line into the kernel log, as it is
#   run CMD…                  logs `% CMD`, runs it, gives its status
#   show CMD…                 runs it, logs each line that it prints as `# LINE`
#   typed LINE                a line for the shell, as a user types it: logged, run, and
#                             what it prints shown
#   write_file PATH VALUE     logs `% echo VALUE > PATH`, writes; set_param NAME PARAM VALUE
#                             a module's parameter
#   expect_fail ERRNO CMD…    CMD (write_file too) must fail and say the text of ERRNO
#                             (EINVAL, EBUSY, …)
#   expect_eq WHAT WANTED SEEN, expect_file PATH WANTED
#   wait_for CMD…             tries CMD ten times a second until it succeeds; fails after
#                             KLP_WAIT seconds, by the guest's clock and the host's
#   file_is PATH VALUE        conditions, for it and others
#   has_line PATH LINE
#   read_file PATH            REPLY is what it holds
#
# Modules and livepatches (NAME is the module's name, without .ko)
#   find_ko NAME              prints the path: of $KLP_MODULES_DIR if that is set, else
#                             beside this file, of a sample, of modules/
#   load_mod NAME [P=V…]      insmod, or modprobe if it is a module of the kernel
#   load_lp NAME [P=V…]       a livepatch; waits for the end of its transition;
#                             load_lp_nowait does not
#   load_fails ERRNO NAME [P=V…]  loading it must fail with ERRNO and leave nothing
#   wait_transition NAME      until NAME's transition has ended
#   stuck_tasks               prints who holds a transition up
#   disable_lp NAME           writes 0 to enabled, waits until its sysfs folder is gone
#   unload_mod NAME           waits for its last user, then rmmod
#   unload_later NAME         for what something else loads: taken back as if load_mod had
#                             loaded it
#   may_stay NAME             it cannot be unloaded (after a forced transition)
#
# The kernel's log
#   log_mark                  forget what was logged so far (each case begins so)
#   log_has ERE               a line since then matches (commands aside); expect_no_log ERE:
#                             none does
#   log_of SELECT…            the lines of each SELECT: a module's name, `livepatch`, `%`
#                             (commands) or `#` (show)
#   expect_log SELECT…        standard input lists, in order, *all* lines that `log_of
#                             SELECT…` must give. A line is a fixed string; `~ ERE` is a
#                             pattern for the whole line; `...` is any number of lines, also
#                             none
#   check_transcript NAME MODULE…  the whole story since the mark (commands, shown lines,
#                             livepatch, modules) equals expected/NAME.log. It goes through
#                             the command TRANSCRIPT_FILTER first, which puts lines in order
#                             whose order is up to chance
#
# What is taken back
#   on_exit CMD…              run it then; restore_file PATH VALUE writes to a file that may
#                             be gone by then
#   save_file PATH            its value is put back; save_sysctl NAME… the same, by sysctl's
#                             name
#   netns_add NAME            a network namespace with loopback up; in_ns NAME CMD… runs CMD
#                             there
#
# From the environment
#   KLP_MODULES_DIR           where the .ko files are
#   KLP_WAIT                  seconds that wait_for waits, 60
#   KLP_CASES                 a shell pattern: other cases are skipped
#   KLP_UPDATE_EXPECTED=1     check_transcript writes expected/NAME.log instead of
#                             comparing; such a case is reported as skipped, so that no run
#                             can pass by it. Read the difference, then commit it
# ANCHOR_END: words

set -u
export LC_ALL=C

KLP_DIR=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
KLP_SYSFS=/sys/kernel/livepatch
KLP_WAIT=${KLP_WAIT:-60}

KLP_TMP=		# folder for what must outlive a case's subshell
KLP_IN_CASE=		# set inside a case
KLP_CASE=		# the running case
KLP_CASE_PID=		# its process, also its process group
KLP_CONFIG=		# the kernel's configuration, once somebody asked for it
KLP_KMSG=		# descriptor of the kernel's log; all that reads it shares its place
KLP_NEVER=		# descriptor from which nothing ever comes
KLP_LOG=		# file with the log's lines since the mark
KLP_LINES=()		# the last that were looked for in it
KLP_LOAD=()		# the command that loads a module
KLP_PLAN=0 KLP_NR=0 KLP_PASS=0 KLP_FAIL=0 KLP_SKIP=0 KLP_TAINT=0 KLP_DONE='' KLP_STOPPED=''

# ---- KTAP -------------------------------------------------------------------

# klp__print LINE…: also none
klp__print() { [ $# -eq 0 ] || printf '%s\n' "$@"; }

# What a case says becomes comments when it is over.
diag() { if [ -n "$KLP_IN_CASE" ]; then printf '%s\n' "$*" >&2; else echo "# $*"; fi; }

fail()
{
	if [ -n "$KLP_IN_CASE" ]; then
		diag "$*"
	else
		[ "$KLP_PLAN" -gt 0 ] || echo "KTAP version 1"
		echo "Bail out! $*"
		KLP_DONE=1
	fi
	exit 1
}

skip()
{
	local reason=${*//#/}

	if [ -n "$KLP_IN_CASE" ]; then
		printf '%s\n' "$reason" > "$KLP_TMP/skip"
	else
		[ "$KLP_PLAN" -eq 0 ] || fail "skipped after the plan, outside a case: $reason"
		printf 'KTAP version 1\n1..0 # SKIP %s\n' "$reason"
	fi
	exit 4
}

ktap_plan()
{
	local other where flags control=/proc/dynamic_debug/control ftrace=/proc/sys/kernel/ftrace_enabled

	[ "$EUID" -eq 0 ] || skip "needs root"
	require_file "$KLP_SYSFS" /dev/kmsg
	require_command insmod modprobe rmmod
	# Without it the core tells nothing of its transitions.
	[ -w "$control" ] || skip "CONFIG_DYNAMIC_DEBUG is not in this kernel"
	for other in "$KLP_SYSFS"/*; do
		[ ! -d "$other" ] || skip "the livepatch ${other##*/} is already loaded"
	done

	KLP_TMP=$(mktemp -d "${TMPDIR:-/tmp}/klp-test.XXXXXX") || fail "no temporary folder in ${TMPDIR:-/tmp}"
	for other in undo loaded may_stay out; do
		: > "$KLP_TMP/$other"
	done
	trap klp__at_exit EXIT
	trap 'KLP_STOPPED="stopped by SIGINT"; exit 130' INT
	trap 'KLP_STOPPED="stopped by SIGTERM"; exit 143' TERM
	trap 'KLP_STOPPED="stopped by SIGHUP"; exit 129' HUP
	KLP_PLAN=$(($1 + 1))
	printf 'KTAP version 1\n1..%d\n' "$KLP_PLAN"

	exec {KLP_KMSG}</dev/kmsg {KLP_NEVER}<> <(:)
	# What the kernel said before is not ours.
	KLP_LOG=/dev/null
	log_mark "start"
	read_file /proc/sys/kernel/tainted
	KLP_TAINT=$REPLY
	while read -r where _ flags _; do
		on_exit restore_file "$control" "file ${where%%:*} line ${where##*:} $flags"
	done < <(grep '^kernel/livepatch/' "$control")
	echo 'file kernel/livepatch/* +p' > "$control"
	# One line a task and attempt: the number of them is chance.
	echo 'func klp_try_switch_task -p' > "$control"
	if [ -e "$ftrace" ]; then
		save_file "$ftrace"
		echo 1 > "$ftrace"
	fi
}

# What the subshell of a case runs.
klp__run_case()
{
	# Children stay in the group that `set -m` made for this subshell.
	set +m
	trap - EXIT INT TERM HUP
	KLP_IN_CASE=1
	trap 'klp__err $? "$LINENO"' ERR
	set -eE
	"$@"
}

# klp__err STATUS LINE: what failed, as the script has it; a line of this library would tell nobody anything
klp__err()
{
	local line=$2 at=1 file

	# A skip on its way out through a command substitution.
	[ "$1" -ne 4 ] || [ ! -e "$KLP_TMP/skip" ] || return 0
	while [ "${BASH_SOURCE[at]}" -ef "${BASH_SOURCE[0]}" ] && [ "${FUNCNAME[at]}" != klp__run_case ]; do
		line=${BASH_LINENO[at++]}
	done
	file=${BASH_SOURCE[at]}
	echo "${file##*/}:$line: status $1 of: $(sed -n "s/^[[:space:]]*//; ${line}p" "$file")" >&2
}

klp__case_is_gone() { ! kill -0 -- "-$KLP_CASE_PID"; }

klp__kill_case()
{
	[ -n "$KLP_CASE_PID" ] || return 0
	kill -TERM -- "-$KLP_CASE_PID"
	KLP_WAIT=2 wait_for klp__case_is_gone
	kill -KILL -- "-$KLP_CASE_PID"
	# Lets bash forget the job without a word about how it ended.
	wait "$KLP_CASE_PID"
	KLP_CASE_PID=
} 2>/dev/null

# What it has said, as comments.
klp__tell_case()
{
	local lines

	mapfile -t lines < "$KLP_TMP/out"
	klp__print "${lines[@]/#/# }"
	: > "$KLP_TMP/out"
}

# klp__end_case FLOOR: nothing goes on, and all but the first FLOOR things are taken back
klp__end_case()
{
	klp__kill_case
	klp__undo "$1" >> "$KLP_TMP/out" 2>&1
	klp__tell_case
}

ktap_case()
{
	local rc floor

	KLP_NR=$((KLP_NR + 1)) KLP_CASE=${1//#/}
	# shellcheck disable=SC2053 # it is a pattern
	if [[ $KLP_CASE != ${KLP_CASES:-*} ]]; then
		KLP_SKIP=$((KLP_SKIP + 1))
		echo "ok $KLP_NR $KLP_CASE # SKIP not chosen by KLP_CASES"
		return 0
	fi

	log_mark "case $KLP_NR: $KLP_CASE"
	mapfile -t floor < "$KLP_TMP/undo"
	# A job of its own: so a signal to the script is served at once, not when the case is over, and whatever the case started
	# can be ended with it.
	set -m
	klp__run_case "${@:2}" </dev/null >"$KLP_TMP/out" 2>&1 &
	KLP_CASE_PID=$!
	set +m
	wait "$KLP_CASE_PID"
	rc=$?
	klp__end_case "${#floor[@]}"
	if [ "$rc" -eq 0 ]; then
		KLP_PASS=$((KLP_PASS + 1))
		echo "ok $KLP_NR $KLP_CASE"
	elif [ "$rc" -eq 4 ] && read_file "$KLP_TMP/skip"; then
		KLP_SKIP=$((KLP_SKIP + 1))
		echo "ok $KLP_NR $KLP_CASE # SKIP $REPLY"
		rm "$KLP_TMP/skip"
	else
		KLP_FAIL=$((KLP_FAIL + 1))
		echo "not ok $KLP_NR $KLP_CASE"
	fi
	KLP_CASE=
}

ktap_finish()
{
	local mod loaded bad=() not=

	klp__end_case 0
	mapfile -t loaded < <(sort -u "$KLP_TMP/loaded")
	for mod in "$KLP_SYSFS"/* "${loaded[@]/#//sys/module/}"; do
		[ ! -d "$mod" ] || has_line "$KLP_TMP/may_stay" "${mod##*/}" || bad+=("$mod is still there")
	done
	# 128 is D (the kernel died somewhere), 512 is W (it warned).
	read_file /proc/sys/kernel/tainted
	[ $((REPLY & ~KLP_TAINT & (128 | 512))) -eq 0 ] ||
		bad+=("the kernel is newly tainted: $KLP_TAINT before, $REPLY after")
	# Not every checker taints: lockdep, RCU and kmemleak only print.
	log_mark "end"
	mapfile -t -O "${#bad[@]}" bad < <(grep -hv '^[%#] ' "$KLP_TMP"/log.* |
		grep -Ef <(grep -v '^#' "$KLP_DIR/complaints"))

	klp__print "${bad[@]/#/# }"
	KLP_NR=$((KLP_NR + 1))
	[ "${#bad[@]}" -eq 0 ] || KLP_FAIL=$((KLP_FAIL + 1)) not='not '
	echo "${not}ok $KLP_NR nothing is left behind and the kernel is sound"
	if [ "$KLP_NR" -ne "$KLP_PLAN" ]; then
		diag "$((KLP_PLAN - 1)) cases planned, $((KLP_NR - 1)) run"
		KLP_FAIL=$((KLP_FAIL + 1))
	fi
	echo "# Totals: pass:$KLP_PASS fail:$KLP_FAIL skip:$KLP_SKIP"
	KLP_DONE=1
	[ "$KLP_FAIL" -eq 0 ] || exit 1
	[ "$KLP_PASS" -gt 0 ] || exit 4
	exit 0
}

klp__at_exit()
{
	local rc=$?

	trap '' INT TERM HUP
	klp__kill_case
	if [ -z "$KLP_DONE" ]; then
		klp__tell_case
		[ -z "$KLP_CASE" ] || echo "not ok $KLP_NR $KLP_CASE"
		echo "Bail out! ${KLP_STOPPED:-${0##*/} ended without ktap_finish}"
		[ -n "$KLP_STOPPED" ] || rc=1
	fi
	klp__end_case 0
	rm -rf "$KLP_TMP"
	exit "$rc"
}

# ---- what is taken back -----------------------------------------------------

# A line for each thing, quoted by bash itself; in a file, so that a subshell can add one and a killed case is no loss.
on_exit() { printf '%s\n' "${*@Q}" >> "$KLP_TMP/undo"; }

# klp__undo FLOOR: take back all but the first FLOOR
klp__undo()
{
	local undo nr

	mapfile -t undo < "$KLP_TMP/undo"
	for ((nr = ${#undo[@]} - 1; nr >= $1; nr--)); do
		# Taken off before it runs: what ends the script in the midst of it does not run it again.
		klp__print "${undo[@]::nr}" > "$KLP_TMP/undo"
		eval "${undo[nr]}" || echo "could not take back: ${undo[nr]}"
	done
}

restore_file() { [ ! -e "$1" ] || klp__to_file "$1" "$2"; }

save_file()
{
	read_file "$1" || fail "cannot read $1"
	on_exit restore_file "$1" "$REPLY"
}

save_sysctl() { local name; for name; do save_file "/proc/sys/${name//.//}"; done; }

unload_later()
{
	echo "$1" >> "$KLP_TMP/loaded"
	on_exit klp__drop_mod "$1"
}

klp__drop_mod()
{
	local KLP_WAIT=20 KLP_IN_CASE=1

	if [ ! -d "/sys/module/$1" ] || has_line "$KLP_TMP/may_stay" "$1"; then
		return 0
	fi
	echo "taken back: $1, which is still loaded"
	# A subshell, which alone ends when something fails.
	(
		if [ -e "$KLP_SYSFS/$1/enabled" ]; then
			wait_for file_is "$KLP_SYSFS/$1/transition" 0 || echo "its transition did not end"
			disable_lp "$1"
		fi
		unload_mod "$1"
	)
}

may_stay() { echo "$1" >> "$KLP_TMP/may_stay"; }

klp__netns_del() { [ ! -e "/run/netns/$1" ] || ip netns del "$1"; }

netns_add()
{
	on_exit klp__netns_del "$1"
	run ip netns add "$1" || fail "cannot make the network namespace $1"
	ip -n "$1" link set lo up || fail "no loopback in $1"
}

in_ns() { ip netns exec "$@"; }

# ---- needs ------------------------------------------------------------------

require_command() { local name; for name; do command -v "$name" >/dev/null || skip "no command $name"; done; }
require_file() { local path; for path; do [ -e "$path" ] || skip "no $path"; done; }
require_config() { local option; for option; do has_config "$option" || skip "$option is not in this kernel"; done; }

has_config()
{
	local release

	if [ -z "$KLP_CONFIG" ]; then
		read_file /proc/sys/kernel/osrelease
		release=$REPLY
		read_file "/boot/config-$release" || read_file "/lib/modules/$release/build/.config" ||
			REPLY=$(gzip -dc /proc/config.gz 2>/dev/null) ||
			skip "the kernel's configuration is not known: neither /proc/config.gz nor /boot/config-$release"
		KLP_CONFIG=$'\n'$REPLY$'\n'
	fi
	case $1 in
	*=*) [[ $KLP_CONFIG == *$'\n'"$1"$'\n'* ]] ;;
	*) [[ $KLP_CONFIG == *$'\n'"$1"=[ym]$'\n'* ]] ;;
	esac
}

require_module()
{
	local name

	for name; do
		[ -d "/sys/module/$name" ] || modprobe -nq "$name" || skip "no module $name in this kernel"
	done
}

require_ko()
{
	local name

	for name; do
		find_ko "$name" >/dev/null || [ -z "${KLP_MODULES_DIR:-}" ] || fail "no $name.ko in $KLP_MODULES_DIR"
		[ -f "$REPLY" ] || skip "$name.ko is not built"
	done
}

require_output()
{
	local out

	out=$("${@:2}" 2>&1) || true
	[ "$out" = "$1" ] || skip "this kernel says '$out' by itself, not '$1'"
}

# ---- commands and values ----------------------------------------------------

log() { printf '%s\n' "$*" > /dev/kmsg; }
klp__to_file() { printf '%s\n' "$2" > "$1"; }

# As a person would type it, modules without their folder.
klp__log_command()
{
	case $1 in
	klp__to_file) log "% echo $3 > $2" ;;
	insmod) log "% insmod ${2##*/}${3:+ ${*:3}}" ;;
	*) log "% $*" ;;
	esac
}

run()
{
	klp__log_command "$@"
	"$@"
}

show()
{
	local line out rc=0

	out=$("$@" 2>&1) || rc=$?
	while IFS= read -r line; do
		log "# $line"
	done <<< "$out"
	return "$rc"
}

typed()
{
	log "% $*"
	show bash -c "$*"
}

write_file() { run klp__to_file "$1" "$2" || fail "cannot write $2 to $1"; }
set_param() { write_file "/sys/module/$1/parameters/$2" "$3"; }

# The texts by which a program may report an errno; insmod has words of its own.
declare -A KLP_STRERROR=(
	[EPERM]="Operation not permitted" [ENOENT]="No such file or directory|Unknown symbol in module"
	[EIO]="Input/output error" [EMLINK]="Too many links" [ENOEXEC]="Exec format error|Invalid module format"
	[EAGAIN]="Resource temporarily unavailable" [ENOMEM]="Cannot allocate memory" [EACCES]="Permission denied"
	[EBUSY]="Device or resource busy" [EEXIST]="File exists" [ENODEV]="No such device"
	[EINVAL]="Invalid argument|Invalid parameters" [ENOSPC]="No space left on device"
	[ERANGE]="Numerical result out of range" [EOPNOTSUPP]="Operation not supported" [ETIMEDOUT]="Connection timed out"
)

expect_fail()
{
	local errno=$1 texts=${KLP_STRERROR[$1]-} command=${*:2}

	shift
	[ -n "$texts" ] || fail "expect_fail does not know the errno $errno"
	[ "$1" != write_file ] || set -- klp__to_file "${@:2}"
	! run "$@" > "$KLP_TMP/said" 2>&1 || fail "should have failed with $errno: $command"
	read_file "$KLP_TMP/said"
	[[ $REPLY =~ $texts ]] || fail "wanted $errno from: $command; seen: $REPLY"
}

wait_for()
{
	# Counted in tries, not by the clock: a stalled machine gets its tries. A guest whose clock leaps while it waits for the
	# host's files has them at once: so the time must pass by the clock on the battery as well, which is the host's.
	local tries=$((KLP_WAIT * 10)) now end=

	until "$@"; do
		if [ "$((tries--))" -le 0 ]; then
			{ read -r now < /sys/class/rtc/rtc0/since_epoch; } 2> /dev/null || return 1
			[ "$now" -lt "${end:=$((now + KLP_WAIT))}" ] || return 1
		fi
		read -rt 0.1 -u "$KLP_NEVER" _ || true
	done
}

read_file()
{
	REPLY=
	{ IFS= read -rd '' REPLY || true; } 2>/dev/null < "$1" || return 1
	REPLY=${REPLY%$'\n'}
}

file_is() { read_file "$1" && [ "$REPLY" = "$2" ]; }
has_line() { read_file "$1" && [[ $'\n'$REPLY$'\n' == *$'\n'"$2"$'\n'* ]]; }
expect_eq() { [ "$2" = "$3" ] || fail "$1: wanted $2, seen $3"; }

expect_file()
{
	read_file "$1" || fail "cannot read $1"
	expect_eq "$1" "$2" "$REPLY"
}

# ---- modules ----------------------------------------------------------------

# Also leaves the path in REPLY.
find_ko()
{
	local dirs=("${KLP_MODULES_DIR:-}")

	[ -n "${dirs[0]}" ] || dirs=("$KLP_DIR" "${KLP_DIR%/*}"/samples/* "$KLP_DIR"/modules{,/*,/*/*})
	for REPLY in "${dirs[@]/%//$1.ko}"; do
		[ ! -f "$REPLY" ] || break
	done
	[ -f "$REPLY" ] && echo "$REPLY"
}

# KLP_LOAD is the command that loads NAME; what it loads is taken back.
klp__loads()
{
	unload_later "$1"
	if find_ko "$1" >/dev/null; then
		KLP_LOAD=(insmod "$REPLY")
	elif modprobe -nq "$1"; then
		KLP_LOAD=(modprobe "$1")
	else
		fail "no $1.ko${KLP_MODULES_DIR:+ in $KLP_MODULES_DIR}"
	fi
}

load_mod()
{
	[ ! -d "/sys/module/$1" ] || fail "module $1 is already loaded"
	klp__loads "$1"
	run "${KLP_LOAD[@]}" "${@:2}" || fail "cannot load $1"
}

load_lp_nowait()
{
	load_mod "$@"
	[ -d "$KLP_SYSFS/$1" ] || fail "module $1 is no livepatch: $KLP_SYSFS/$1 did not appear"
}

load_lp()
{
	load_lp_nowait "$@"
	wait_transition "$1"
}

load_fails()
{
	klp__loads "$2"
	expect_fail "$1" "${KLP_LOAD[@]}" "${@:3}"
	wait_for test ! -d "/sys/module/$2" || fail "$2 failed to load, but is there"
	[ ! -d "$KLP_SYSFS/$2" ] || fail "$2 failed to load, but its livepatch is there"
}

wait_transition()
{
	wait_for file_is "$KLP_SYSFS/$1/transition" 0 || fail "the transition of $1 does not end: $(stuck_tasks)"
}

# The crowd is where the patch wants to be, the few are not.
stuck_tasks()
{
	local task name

	for task in /proc/[0-9]*/task/[0-9]*; do
		read_file "$task/comm" || continue
		name=$REPLY
		read_file "$task/patch_state" && echo "$name:$REPLY"
	done | sort -t: -k2 | uniq -c | tr '\n' ';'
}

disable_lp()
{
	write_file "$KLP_SYSFS/$1/enabled" 0
	wait_for test ! -e "$KLP_SYSFS/$1" || fail "livepatch $1 does not get disabled: $(stuck_tasks)"
}

unload_mod()
{
	wait_for file_is "/sys/module/$1/refcnt" 0 || fail "module $1 is not there, or has users: $REPLY"
	run rmmod "$1" || fail "cannot remove $1"
}

# ---- the kernel's log -------------------------------------------------------

# Moves what the kernel has logged to KLP_LOG, up to a line of our own.
#
# One read(2) of /dev/kmsg gives one line `priority,number,time,flags;text`, and lines ` KEY=VALUE` of the device that it
# is about. What bash has read beyond a line it would give to its next `read`, from whatever file: so everything is
# read to that line, after which there is nothing. Never with a time-out, which may come in the midst of a line.
klp__log_read()
{
	local line='' end new='' errors=0

	end="${0##*/}[$BASHPID]: up to here, $EPOCHREALTIME"
	log "$end"
	until [[ $line == *"$end" ]]; do
		if ! IFS= read -r -u "$KLP_KMSG" line 2> /dev/null; then
			# EPIPE: lines were overwritten before anybody read them.
			: > "$KLP_LOG.lost"
			line=''
			[ "$((errors++))" -lt 100 ] || fail "cannot read /dev/kmsg"
		fi
		case $line in
		'' | ' '* | *"$end") ;;
		*\\x*) printf -v line '%b' "${line#*;}" && new+=$line$'\n' ;;
		*) new+=${line#*;}$'\n' ;;
		esac
	done
	printf '%s' "$new" >> "$KLP_LOG"
}

log_mark()
{
	klp__log_read
	log "${0##*/}[$BASHPID]: ${*:-mark}"
	# A file of its own for each mark; ktap_finish reads them all.
	KLP_LOG=$KLP_TMP/log.$BASHPID.$EPOCHREALTIME
	: > "$KLP_LOG"
}

# klp__lines CONDITION…: KLP_LINES are the lines since the mark for which `CONDITION… LINE` is true
klp__lines()
{
	local line all

	klp__log_read
	[ ! -e "$KLP_LOG.lost" ] ||
		fail "the kernel's log was overwritten: a larger CONFIG_LOG_BUF_SHIFT or log_buf_len is needed"
	mapfile -t all < "$KLP_LOG"
	KLP_LINES=()
	for line in "${all[@]}"; do
		! "$@" "$line" || KLP_LINES+=("$line")
	done
}

klp__is_said() { [[ $2 != [%#]\ * && $2 =~ $1 ]]; }

log_has()
{
	klp__lines klp__is_said "$1"
	[ "${#KLP_LINES[@]}" -gt 0 ]
}

expect_no_log() { ! log_has "$1" || fail "the kernel's log should not have: $(klp__print "${KLP_LINES[@]}")"; }

# klp__begins WORD|… LINE: not what the module loader says in the name of the module
klp__begins()
{
	[[ $2 == @($1)* &&
		$2 != *': '@(loading out-of-tree module taints kernel|tainting kernel|module verification failed: )* ]]
}

klp__select()
{
	local name begins=''

	for name; do
		case $name in
		[%#]) begins+="|$name " ;;
		*) begins+="|$name: " ;;
		esac
	done
	klp__lines klp__begins "${begins#|}"
}

log_of()
{
	klp__select "$@"
	klp__print "${KLP_LINES[@]}"
}

# klp__match WANTED…: do these match KLP_LINES, both to their ends?
klp__match()
{
	local want=("$@") i=0 j=0 gap=-1 from=0 line

	while [ "$j" -lt "${#KLP_LINES[@]}" ]; do
		line=${KLP_LINES[j]}
		if [ "${want[i]-}" = ... ]; then
			gap=$((i++)) from=$j
		elif [[ ${want[i]-} == "$line" || ${want[i]-} == '~ '* && $line =~ ^(${want[i]#'~ '})$ ]]; then
			i=$((i + 1)) j=$((j + 1))
		elif [ "$gap" -ge 0 ]; then
			# Let the last gap swallow one line more.
			i=$((gap + 1)) j=$((++from))
		else
			return 1
		fi
	done
	while [ "${want[i]-}" = ... ]; do
		i=$((i + 1))
	done
	[ "$i" -eq $# ]
}

# klp__differs WANTED SEEN REASON…: fails, and shows how
klp__differs()
{
	diff -u --label wanted --label seen <(printf '%s\n' "$1") <(printf '%s\n' "$2") >&2 || true
	fail "${@:3}"
}

expect_log()
{
	local wanted=() line

	while read -r line; do
		[ -z "$line" ] || wanted+=("$line")
	done
	klp__select "$@"
	klp__match "${wanted[@]}" || klp__differs "$(klp__print "${wanted[@]}")" "$(klp__print "${KLP_LINES[@]}")" \
		"the kernel's log ($*) is not as wanted by expect_log"
}

check_transcript()
{
	local name=$1 file=$KLP_DIR/expected/$1.log seen

	klp__select % '#' livepatch "${@:2}"
	# Without what changes from run to run and says nothing.
	seen=$(klp__print "${KLP_LINES[@]}" | sed -E 's/\b(0x[0-9a-f]{8,16}|[0-9a-f]{16})\b/<address>/g
		s/\b(pid|PID)([ :=]+)[0-9]+/\1\2<pid>/g' | ${TRANSCRIPT_FILTER:-cat})
	if [ "${KLP_UPDATE_EXPECTED:-}" = 1 ]; then
		mkdir -p "${file%/*}"
		printf '%s\n' "$seen" > "$file" || fail "cannot write $file"
		skip "expected/$name.log written, not compared"
	fi
	read_file "$file" || fail "no $file (KLP_UPDATE_EXPECTED=1 writes it)"
	[ "$REPLY" = "$seen" ] || klp__differs "$REPLY" "$seen" "the transcript differs from expected/$name.log"
}

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The shell library of the livepatch selftests. Source it, never run it:
#
#     . "$(dirname "$0")/functions.sh"
#
#     require_ko sysctl_update            # optional: skips the whole script
#     ktap_plan 2                         # prints the plan, sets the kernel up
#
#     loads() {
#         load_lp sysctl_update when=pre
#         disable_lp sysctl_update
#         unload_mod sysctl_update
#         expect_log sysctl_update <<-'EOF'
#             sysctl_update: pre_patch: vmlinux
#             ~ sysctl_update: post_patch: vmlinux: [0-9]+ raised
#             ...
#         EOF
#     }
#     refuses() { load_fails EINVAL sysctl_update when=nonsense; }
#
#     ktap_case "R1: the callbacks run in order" loads
#     ktap_case "an unknown order is refused" refuses
#     ktap_finish                         # must be the last line
#
# A case runs in a subshell and process group of its own, with `set -eu` and standard input closed: the first command
# that fails ends the case (never the script), and its line in the script is told. So call ktap_case as a plain command,
# never in `if`, `&&` or `||`: bash would switch `set -e` off. After the case, passed or not, its leftover processes are
# killed, and what it did through load_*, save_*, netns_add and on_exit is taken back, last first. What is done that way
# outside a case is taken back when the script ends, also by Ctrl-C or a time-out.
#
# Exit status of a script: 0 passed, 1 failed, 4 everything skipped (kselftest's).
#
# Starting a program is the dearest thing a script can do in an emulated guest, so nothing here starts one that the
# shell can do without: values are read by `read`, the kernel's log by one open descriptor for the whole script.
#
# The plan and its cases
#   ktap_plan N               N cases follow; one more is added by ktap_finish
#   ktap_case NAME FUNC [ARG…]  NAME has no '#'; "R7: …" names the rule it proves
#   ktap_finish               the last case: nothing is left, the kernel is sound; then exit
#   diag TEXT…                a diagnostic line
#   fail TEXT…                end the case as failed (outside: end the script)
#   skip REASON…              end the case as skipped (outside: skip what is left)
#   expect_eq WHAT WANTED SEEN
#   expect_file PATH WANTED   the file holds exactly that
#
# What a script or a case needs; skips by name what is missing
#   require_command NAME…, require_file PATH…
#   require_config CONFIG_X…  each built in or a module; CONFIG_X=y asks for built in; has_config asks for one
#   require_module NAME…      a module of the running kernel's own (or built in)
#   require_ko NAME…          a module of ours. With KLP_MODULES_DIR set, a missing one is a failure: whoever set it
#                             said that all are there
#   require_output TEXT CMD…  CMD prints TEXT: what a patch mends is not mended in the kernel itself
#
# Commands
#   log TEXT…                 one line into the kernel log, as it is
#   run CMD…                  logs `% CMD`, runs it, gives its status
#   show CMD…                 runs it, logs each line that it prints as `# LINE`
#   typed LINE                a line for the shell, as a user types it: logged, run, and what it prints shown
#   write_file PATH VALUE     logs `% echo VALUE > PATH`, writes
#   expect_fail ERRNO CMD…    runs CMD (write_file too); it must fail and say the text of ERRNO (EINVAL, EBUSY, …;
#                             insmod's own words as well)
#   wait_for CMD…             tries CMD ten times a second until it succeeds; fails after KLP_WAIT seconds (60). No eval:
#                             use a function
#   file_is PATH VALUE        a condition for wait_for
#   on_exit CMD…              take back later (see above)
#
# Modules and livepatches (NAME is the module's name, without .ko)
#   find_ko NAME              prints the path: $KLP_MODULES_DIR/NAME.ko if that is set, else NAME.ko,
#                             ../samples/*/NAME.ko, modules/NAME.ko
#   load_mod NAME [P=V…]      insmod, or modprobe if it is a module of the kernel
#   load_lp NAME [P=V…]       a livepatch; waits for the end of its transition
#   load_lp_nowait NAME [P=V…]
#   load_fails ERRNO NAME [P=V…]  load_mod's insmod or modprobe must fail with ERRNO and leave nothing
#   disable_lp NAME           writes 0 to enabled, waits until its sysfs folder is gone
#   wait_transition NAME      until NAME's transition has ended
#   unload_mod NAME           waits for its last user, then rmmod
#   set_param NAME PARAM VALUE  through /sys/module/NAME/parameters
#   keeps_its_state NAME FUNC [ARG…]  NAME is enabled; a cumulative patch that does not
#                             know its state is refused, and one that does takes its
#                             place; FUNC is asked thrice if what NAME changed is so
#   comes_and_goes NAME CMD…  NAME is loaded and removed three times beside CMD, which works until $KLP_TMP/stop is there,
#                             keeps in $KLP_TMP/stop.count how often it has worked, and must not fail
#   repeat CMD…               such a CMD, of one that works once
#   may_stay NAME             it cannot be unloaded (after a forced transition)
#   KLP_SYSFS                 /sys/kernel/livepatch
#
# The kernel's log
#   log_mark                  forget what was logged so far (each case begins so)
#   log_of SELECT…            the lines since then that belong to SELECT: a module's name, `livepatch`, `%` (commands)
#                             or `#` (show)
#   expect_log SELECT…        standard input lists, in order, *all* lines that `log_of SELECT…` must give. A line is a
#                             fixed string; `~ ERE` is a pattern for the whole line; `...` stands for any number of
#                             lines, also none. White space in front is ignored. A difference is shown as a diff
#   log_has ERE               a condition for wait_for
#   expect_no_log ERE         no line since the mark matches (commands aside)
#   check_transcript NAME MODULE…  the whole story since the mark (commands, shown lines, livepatch, modules) equals
#                             expected/NAME.log. It goes through TRANSCRIPT_FILTER first, a command that puts lines in
#                             order whose order is up to chance
#
# Files and namespaces
#   save_file PATH            its value is put back later
#   save_sysctl NAME…         the same, by sysctl's name
#   netns_add NAME            a network namespace with loopback up, removed later
#   in_ns NAME CMD…           runs CMD there
#
# From the environment
#   KLP_MODULES_DIR           where the .ko files are
#   KLP_WAIT                  seconds that wait_for waits, 60
#   KLP_CASES                 a shell pattern: other cases are skipped
#   KLP_UPDATE_EXPECTED=1     check_transcript writes expected/NAME.log instead of comparing; such a case is reported
#                             as skipped, so that no run can pass by it. Read the difference, then commit it

set -u
export LC_ALL=C

KLP_DIR=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
# shellcheck disable=SC2034 # for the scripts that source this file
KLP_SYSFS=/sys/kernel/livepatch
KLP_SCRIPT=${0##*/}
KLP_WAIT=${KLP_WAIT:-60}

KLP_TMP=		# folder for what must outlive a case's subshell
KLP_IN_CASE=		# set inside a case
KLP_CASE_PID=		# the running case, also its process group
KLP_CASE_NAME=
KLP_CONFIG=		# the kernel's configuration, once somebody asked for it
KLP_KMSG=		# descriptor of the kernel's log; all that reads it shares its place
KLP_NEVER=		# descriptor from which nothing ever comes
KLP_LOG=		# file with the log's lines since the mark
KLP_LOAD=()		# the command that loads a module
KLP_LINES=()		# the last that were looked for in it
KLP_PLAN=0 KLP_NR=0 KLP_PASS=0 KLP_FAIL=0 KLP_SKIP=0 KLP_TAINT=0 KLP_DONE=

# ---- what the shell can do itself -------------------------------------------

# klp__read PATH: REPLY is what the file holds, without the last newline
klp__read()
{
	REPLY=
	{ IFS= read -rd '' REPLY || true; } 2>/dev/null < "$1" || return 1
	REPLY=${REPLY%$'\n'}
}

klp__to_file()
{
	printf '%s\n' "$2" > "$1"
}

# klp__has_line PATH LINE
klp__has_line()
{
	klp__read "$1" && [[ $'\n'$REPLY$'\n' == *$'\n'"$2"$'\n'* ]]
}

# Prints standard input with a "# " before each line.
klp__comment()
{
	local line

	while IFS= read -r line || [ -n "$line" ]; do
		printf '# %s\n' "$line"
	done
}

# ---- KTAP -------------------------------------------------------------------

diag()
{
	if [ -n "$KLP_IN_CASE" ]; then
		# Gets its "# " when the case is over.
		printf '%s\n' "$*" >&2
	else
		klp__comment <<< "$*"
	fi
}

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
		exit 4
	fi
	KLP_DONE=1
	if [ "$KLP_PLAN" -eq 0 ]; then
		printf 'KTAP version 1\n1..0 # SKIP %s\n' "$reason"
		exit 4
	fi
	while [ "$KLP_NR" -lt "$KLP_PLAN" ]; do
		echo "ok $((++KLP_NR)) not run # SKIP $reason"
	done
	klp__exit_code
}

klp__exit_code()
{
	[ "$KLP_FAIL" -eq 0 ] || exit 1
	[ "$KLP_PASS" -gt 0 ] || exit 4
	exit 0
}

ktap_plan()
{
	local other where flags

	[ "$EUID" -eq 0 ] || skip "needs root"
	require_file "$KLP_SYSFS" /dev/kmsg
	require_command insmod modprobe rmmod
	# Without it the core tells nothing of its transitions.
	[ -w /proc/dynamic_debug/control ] || skip "CONFIG_DYNAMIC_DEBUG is not in this kernel"
	for other in "$KLP_SYSFS"/*; do
		[ ! -d "$other" ] || skip "the livepatch ${other##*/} is already loaded"
	done

	KLP_TMP=$(mktemp -d "${TMPDIR:-/tmp}/klp-test.XXXXXX") || fail "no temporary folder in ${TMPDIR:-/tmp}"
	for other in undo loaded may_stay out; do
		: > "$KLP_TMP/$other"
	done
	trap klp__at_exit EXIT
	trap 'klp__interrupted 130 SIGINT' INT
	trap 'klp__interrupted 143 SIGTERM' TERM
	trap 'klp__interrupted 129 SIGHUP' HUP

	KLP_PLAN=$(($1 + 1))
	printf 'KTAP version 1\n1..%d\n' "$KLP_PLAN"

	exec {KLP_KMSG}</dev/kmsg {KLP_NEVER}<> <(:)
	# What the kernel said before is not ours.
	KLP_LOG=/dev/null
	log_mark "start"
	klp__read /proc/sys/kernel/tainted
	KLP_TAINT=$REPLY
	while read -r where _ flags _; do
		on_exit klp__to_file /proc/dynamic_debug/control "file ${where%%:*} line ${where##*:} $flags"
	done < <(grep '^kernel/livepatch/' /proc/dynamic_debug/control)
	klp__to_file /proc/dynamic_debug/control 'file kernel/livepatch/* +p'
	# One line a task and attempt: the number of them is chance.
	klp__to_file /proc/dynamic_debug/control 'func klp_try_switch_task -p'
	if [ -e /proc/sys/kernel/ftrace_enabled ]; then
		save_sysctl kernel.ftrace_enabled
		echo 1 > /proc/sys/kernel/ftrace_enabled
	fi
}

# What the subshell of a case runs.
klp__run_case()
{
	# Children stay in the group that `set -m` made for this subshell.
	set +m
	trap - EXIT INT TERM HUP
	KLP_IN_CASE=1
	trap 'klp__err $? "$BASH_COMMAND" "$LINENO"' ERR
	set -eE
	"$@"
}

# klp__err STATUS COMMAND LINE: what failed, as the script has it; a line of this library would tell nobody anything
klp__err()
{
	local what line=$3 at=1

	# 4 is a skip on its way out through a command substitution.
	if [ "$1" -eq 4 ] && [ -e "$KLP_TMP/skip" ]; then
		return
	fi
	while [ "${BASH_SOURCE[at]}" -ef "${BASH_SOURCE[0]}" ] && [ "${FUNCNAME[at]}" != klp__run_case ]; do
		line=${BASH_LINENO[at++]}
	done
	what=$(sed -n "s/^[[:space:]]*//; ${line}p" "${BASH_SOURCE[at]}" 2>/dev/null) || what=$2
	echo "${BASH_SOURCE[at]##*/}:$line: status $1 of: $what" >&2
}

klp__kill_case()
{
	local i

	[ -n "$KLP_CASE_PID" ] || return 0
	kill -TERM -- "-$KLP_CASE_PID" 2>/dev/null
	for ((i = 0; i < 20; i++)); do
		kill -0 -- "-$KLP_CASE_PID" 2>/dev/null || break
		read -rt 0.1 -u "$KLP_NEVER" _
	done
	kill -KILL -- "-$KLP_CASE_PID" 2>/dev/null
	# Lets bash forget the job without a word about how it ended.
	wait "$KLP_CASE_PID" 2>/dev/null
	KLP_CASE_PID=
}

ktap_case()
{
	local name=${1//#/} rc floor=()

	shift
	KLP_NR=$((KLP_NR + 1)) KLP_CASE_NAME=$name
	# shellcheck disable=SC2053 # it is a pattern
	if [[ $name != ${KLP_CASES:-*} ]]; then
		KLP_SKIP=$((KLP_SKIP + 1))
		echo "ok $KLP_NR $name # SKIP not chosen by KLP_CASES"
		return 0
	fi

	log_mark "case $KLP_NR: $name"
	mapfile -t floor < "$KLP_TMP/undo"

	# A job of its own: so a signal to the script is served at once, not when
	# the case is over, and whatever the case started can be ended with it.
	set -m
	klp__run_case "$@" </dev/null >"$KLP_TMP/out" 2>&1 &
	KLP_CASE_PID=$!
	set +m
	wait "$KLP_CASE_PID"
	rc=$?
	klp__kill_case
	klp__undo "${#floor[@]}" >> "$KLP_TMP/out" 2>&1
	klp__comment < "$KLP_TMP/out"

	if [ "$rc" -eq 0 ]; then
		KLP_PASS=$((KLP_PASS + 1))
		echo "ok $KLP_NR $name"
	elif [ "$rc" -eq 4 ] && klp__read "$KLP_TMP/skip"; then
		KLP_SKIP=$((KLP_SKIP + 1))
		echo "ok $KLP_NR $name # SKIP $REPLY"
		rm "$KLP_TMP/skip"
	else
		KLP_FAIL=$((KLP_FAIL + 1))
		echo "not ok $KLP_NR $name"
	fi
	KLP_CASE_NAME=
}

ktap_finish()
{
	local name="nothing is left behind and the kernel is sound" bad='' line mod loaded

	klp__undo 0 > "$KLP_TMP/out" 2>&1
	klp__comment < "$KLP_TMP/out"
	mapfile -t loaded < <(sort -u "$KLP_TMP/loaded")
	for mod in "$KLP_SYSFS"/* "${loaded[@]/#//sys/module/}"; do
		if [ -d "$mod" ] && ! klp__has_line "$KLP_TMP/may_stay" "${mod##*/}"; then
			diag "$mod is still there"
			bad=1
		fi
	done

	# 128 is D (the kernel died somewhere), 512 is W (it warned).
	klp__read /proc/sys/kernel/tainted
	if [ $((REPLY & ~KLP_TAINT & (128 | 512))) -ne 0 ]; then
		diag "the kernel is newly tainted: $KLP_TAINT before, $REPLY after"
		bad=1
	fi
	# Not every checker taints: lockdep, RCU and kmemleak only print.
	log_mark "end"
	while IFS= read -r line; do
		diag "$line"
		bad=1
	done < <(grep -hv '^[%#] ' "$KLP_TMP"/log.* | grep -Ef <(grep -v '^#' "$KLP_DIR/complaints"))

	KLP_NR=$((KLP_NR + 1)) KLP_FAIL=$((KLP_FAIL + ${bad:-0}))
	echo "${bad:+not }ok $KLP_NR $name"
	if [ "$KLP_NR" -ne "$KLP_PLAN" ]; then
		diag "$((KLP_PLAN - 1)) cases planned, $((KLP_NR - 1)) run"
		KLP_FAIL=$((KLP_FAIL + 1))
	fi
	echo "# Totals: pass:$KLP_PASS fail:$KLP_FAIL skip:$KLP_SKIP"
	KLP_DONE=1
	klp__exit_code
}

klp__interrupted()
{
	trap '' INT TERM HUP
	klp__kill_case
	klp__comment < "$KLP_TMP/out"
	[ -z "$KLP_CASE_NAME" ] || echo "not ok $KLP_NR $KLP_CASE_NAME"
	echo "Bail out! stopped by $2"
	KLP_DONE=1
	exit "$1"
}

klp__at_exit()
{
	local rc=$?

	trap '' INT TERM HUP
	klp__kill_case
	klp__undo 0 > "$KLP_TMP/out" 2>&1
	klp__comment < "$KLP_TMP/out"
	rm -rf "$KLP_TMP"
	if [ -z "$KLP_DONE" ]; then
		echo "Bail out! $KLP_SCRIPT ended without ktap_finish"
		rc=1
	fi
	exit "$rc"
}

# ---- what is taken back -----------------------------------------------------

# One line for each thing to take back, quoted by bash itself; in a file, so that a
# subshell can add one and a killed case is no loss.

on_exit()
{
	printf '%s\n' "${*@Q}" >> "$KLP_TMP/undo"
}

# klp__undo FLOOR: take back all but the first FLOOR
klp__undo()
{
	local undo nr

	mapfile -t undo < "$KLP_TMP/undo"
	for ((nr = ${#undo[@]} - 1; nr >= $1; nr--)); do
		# Taken off before it runs: what ends the script in the midst of it does not run it again.
		printf '%s\n' "${undo[@]::nr}" > "$KLP_TMP/undo"
		eval "${undo[nr]}" || echo "could not take back: ${undo[nr]}"
	done
	[ "$1" -gt 0 ] || : > "$KLP_TMP/undo"
}

klp__restore_file()
{
	# It may have gone with the module or namespace that made it.
	[ ! -e "$1" ] || klp__to_file "$1" "$2"
}

save_file()
{
	klp__read "$1" || fail "cannot read $1"
	on_exit klp__restore_file "$1" "$REPLY"
}

save_sysctl()
{
	local name

	for name in "$@"; do
		save_file "/proc/sys/${name//.//}"
	done
}

klp__drop_mod()
{
	local mod=$1 KLP_WAIT=20

	if [ ! -d "/sys/module/$mod" ] || klp__has_line "$KLP_TMP/may_stay" "$mod"; then
		return 0
	fi
	if [ -e "$KLP_SYSFS/$mod/enabled" ]; then
		echo "livepatch $mod was left enabled: disabled now"
		wait_for file_is "$KLP_SYSFS/$mod/transition" 0 || echo "its transition did not end"
		echo 0 > "$KLP_SYSFS/$mod/enabled"
		wait_for test ! -e "$KLP_SYSFS/$mod" || return 1
	else
		echo "module $mod was left loaded: removed now"
	fi
	wait_for klp__unused "$mod" || return 1
	rmmod "$mod"
}

# ---- needs ------------------------------------------------------------------

require_command()
{
	local name

	for name in "$@"; do
		command -v "$name" >/dev/null || skip "no command $name"
	done
}

require_file()
{
	local path

	for path in "$@"; do
		[ -e "$path" ] || skip "no $path"
	done
}

# has_config CONFIG_X|CONFIG_X=y
has_config()
{
	local file release

	if [ -z "$KLP_CONFIG" ]; then
		klp__read /proc/sys/kernel/osrelease
		release=$REPLY
		for file in "/boot/config-$release" "/lib/modules/$release/build/.config"; do
			[ -n "$KLP_CONFIG" ] || ! klp__read "$file" || KLP_CONFIG=$REPLY
		done
		[ -n "$KLP_CONFIG" ] || [ ! -r /proc/config.gz ] || KLP_CONFIG=$(gzip -dc /proc/config.gz)
	fi
	[ -n "$KLP_CONFIG" ] ||
		skip "the kernel's configuration is not known: neither /proc/config.gz nor /boot/config-$release"
	case $1 in
	*=*) [[ $'\n'$KLP_CONFIG$'\n' == *$'\n'"$1"$'\n'* ]] ;;
	*) [[ $'\n'$KLP_CONFIG$'\n' == *$'\n'"$1"=[ym]$'\n'* ]] ;;
	esac
}

require_config()
{
	local option

	for option in "$@"; do
		has_config "$option" || skip "$option is not in this kernel"
	done
}

require_module()
{
	local name

	for name in "$@"; do
		[ -d "/sys/module/$name" ] || modprobe -nq "$name" || skip "no module $name in this kernel"
	done
}

require_ko()
{
	local name

	for name in "$@"; do
		klp__find_ko "$name" || [ -z "${KLP_MODULES_DIR:-}" ] || fail "no $name.ko in $KLP_MODULES_DIR"
		[ -f "$REPLY" ] || skip "$name.ko is not built"
	done
}

require_output()
{
	local text=$1 out

	shift
	out=$("$@" 2>&1) || true
	[ "$out" = "$text" ] || skip "this kernel says '$out' by itself, not '$text'"
}

# ---- commands ---------------------------------------------------------------

log()
{
	printf '%s\n' "$*" > /dev/kmsg
}

# REPLY is the words as a person would type them, modules without their folder.
klp__words()
{
	local word

	if [ "$1" = write_file ]; then
		REPLY="echo $3 > $2"
		return
	fi
	REPLY=
	for word in "$@"; do
		case $word in
		*/*.ko) word=${word##*/} ;;
		esac
		REPLY+="$word "
	done
	REPLY=${REPLY% }
}

run()
{
	klp__words "$@"
	log "% $REPLY"
	"$@"
}

# The same, in silence; its failure is the case's.
klp__run_or_fail()
{
	run "$@" > "$KLP_TMP/said" 2>&1 && return
	klp__read "$KLP_TMP/said"
	fail "$REPLY"
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
	log "% $1"
	show bash -c "$1"
}

write_file()
{
	klp__words write_file "$@"
	log "% $REPLY"
	klp__to_file "$1" "$2" || fail "cannot write $2 to $1"
}

# The texts by which a program may report an errno.
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
	local errno=$1 rc=0 what texts

	shift
	texts=${KLP_STRERROR[$errno]-}
	[ -n "$texts" ] || fail "expect_fail does not know the errno $errno"
	klp__words "$@"
	what=$REPLY
	log "% $what"
	if [ "$1" = write_file ]; then
		klp__to_file "$2" "$3" 2> "$KLP_TMP/said" || rc=$?
	else
		"$@" > "$KLP_TMP/said" 2>&1 || rc=$?
	fi
	[ "$rc" -ne 0 ] || fail "should have failed with $errno: $what"
	klp__read "$KLP_TMP/said"
	[[ $REPLY =~ $texts ]] || fail "wanted $errno from: $what; seen: $REPLY"
}

wait_for()
{
	# Counted in tries, not by the clock: a stalled machine gets its tries.
	local tries=$((KLP_WAIT * 10))

	until "$@"; do
		[ "$((tries--))" -gt 0 ] || return 1
		read -rt 0.1 -u "$KLP_NEVER" _ || true
	done
}

file_is()
{
	klp__read "$1" && [ "$REPLY" = "$2" ]
}

expect_eq()
{
	[ "$2" = "$3" ] || fail "$1: wanted $2, seen $3"
}

expect_file()
{
	klp__read "$1" || fail "cannot read $1"
	expect_eq "$1" "$2" "$REPLY"
}

# ---- modules ----------------------------------------------------------------

# REPLY is the path of a module of ours.
klp__find_ko()
{
	local dir=$KLP_DIR

	if [ -n "${KLP_MODULES_DIR:-}" ]; then
		REPLY=$KLP_MODULES_DIR/$1.ko
		[ -f "$REPLY" ]
		return
	fi
	for REPLY in "$dir/$1.ko" "${dir%/*}"/samples/*/"$1.ko" "$dir/modules/$1.ko" "$dir"/modules/*/"$1.ko" \
		"$dir"/modules/*/*/"$1.ko"; do
		[ ! -f "$REPLY" ] || return 0
	done
	return 1
}

find_ko()
{
	klp__find_ko "$1" && echo "$REPLY"
}

klp__unused()
{
	file_is "/sys/module/$1/refcnt" 0
}

# klp__loads NAME: KLP_LOAD is the command that loads it; what it loads is taken back
klp__loads()
{
	echo "$1" >> "$KLP_TMP/loaded"
	on_exit klp__drop_mod "$1"
	if klp__find_ko "$1"; then
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
	klp__run_or_fail "${KLP_LOAD[@]}" "${@:2}"
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

wait_transition()
{
	wait_for file_is "$KLP_SYSFS/$1/transition" 0 ||
		fail "the transition of $1 does not end: $(klp__stuck)"
}

# The tasks that hold a transition up: the crowd is where the patch wants to be, the few are not.
klp__stuck()
{
	local task name

	for task in /proc/[0-9]*/task/[0-9]*; do
		klp__read "$task/comm" || continue
		name=$REPLY
		klp__read "$task/patch_state" && echo "$name:$REPLY"
	done | sort -t: -k2 | uniq -c | tr '\n' ';'
}

load_fails()
{
	local errno=$1 mod=$2

	klp__loads "$mod"
	expect_fail "$errno" "${KLP_LOAD[@]}" "${@:3}"
	wait_for test ! -d "/sys/module/$mod" || fail "$mod failed to load, but is there"
	[ ! -d "$KLP_SYSFS/$mod" ] || fail "$mod failed to load, but its livepatch is there"
}

disable_lp()
{
	write_file "$KLP_SYSFS/$1/enabled" 0
	wait_for test ! -e "$KLP_SYSFS/$1" || fail "livepatch $1 does not get disabled: $(klp__stuck)"
}

unload_mod()
{
	if ! wait_for klp__unused "$1"; then
		klp__read "/sys/module/$1/refcnt" || fail "module $1 is not there"
		fail "module $1 has $REPLY users"
	fi
	klp__run_or_fail rmmod "$1"
}

set_param()
{
	write_file "/sys/module/$1/parameters/$2" "$3"
}

keeps_its_state()
{
	local mod=$1

	shift
	load_fails EINVAL test_klp_atomic_replace replace=1
	log_has "Livepatch patch .test_klp_atomic_replace. is not compatible" ||
		fail "refused for another reason"
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

repeat()
{
	local count=0

	while [ ! -e "$KLP_TMP/stop" ]; do
		"$@"
		count=$((count + 1))
		echo "$count" > "$KLP_TMP/stop.count"
	done
}

klp__has_worked()
{
	klp__read "$KLP_TMP/stop.count" && [ "${REPLY:-0}" -ge "$1" ]
}

comes_and_goes()
{
	local mod=$1 background wanted=0

	shift
	"$@" &
	background=$!
	for _ in 1 2 3; do
		load_lp "$mod"
		wait_for klp__has_worked $((wanted += 2)) || fail "with $mod nothing goes on: $*"
		disable_lp "$mod"
		unload_mod "$mod"
		wait_for klp__has_worked $((wanted += 2)) || fail "without $mod nothing goes on: $*"
	done
	: > "$KLP_TMP/stop"
	wait "$background" || fail "beside $mod failed: $*"
}

may_stay()
{
	echo "$1" >> "$KLP_TMP/may_stay"
}

# ---- the kernel's log -------------------------------------------------------

# Moves what the kernel has logged to KLP_LOG.
#
# One read(2) of /dev/kmsg gives one line `priority,number,time,flags;text`, and lines ` KEY=VALUE` of the device that it
# is about. What bash has read beyond a line it would give to its next `read`, from whatever file: so everything is
# read to a line of our own, after which there is nothing. Never with a time-out, which may come in the midst of a line.
klp__log_read()
{
	local line='' end new='' errors=0

	end="${KLP_SCRIPT}[$BASHPID]: up to here, $EPOCHREALTIME"
	log "$end"
	until [[ $line == *"$end" ]]; do
		if ! IFS= read -r -u "$KLP_KMSG" line; then
			# EPIPE: lines were overwritten before anybody read them.
			echo lost > "$KLP_TMP/lost"
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
	log "${KLP_SCRIPT}[$BASHPID]: ${*:-mark}"
	# A file of its own for each mark; ktap_finish reads them all.
	KLP_LOG=$KLP_TMP/log.$BASHPID.$EPOCHREALTIME
	: > "$KLP_LOG"
	: > "$KLP_TMP/lost"
}

# KLP_LINES is what was logged since the mark.
klp__log_lines()
{
	klp__log_read
	[ ! -s "$KLP_TMP/lost" ] ||
		fail "the kernel's log was overwritten: a larger CONFIG_LOG_BUF_SHIFT or log_buf_len is needed"
	mapfile -t KLP_LINES < "$KLP_LOG"
}

# klp__select SELECT…: those of them that log_of tells
klp__select()
{
	local line name found=()

	klp__log_lines
	for line in "${KLP_LINES[@]}"; do
		case $line in
		# The module loader speaks in the name of the module.
		*': loading out-of-tree module taints kernel'* | *': tainting kernel'* | *': module verification failed: '*)
			continue
			;;
		esac
		for name in "$@"; do
			case $name in
			[%#]) name+=' ' ;;
			*) name+=: ;;
			esac
			if [[ $line == "$name"* ]]; then
				found+=("$line")
				break
			fi
		done
	done
	KLP_LINES=("${found[@]}")
}

klp__print_lines()
{
	[ "${#KLP_LINES[@]}" -eq 0 ] || printf '%s\n' "${KLP_LINES[@]}"
}

log_of()
{
	klp__select "$@"
	klp__print_lines
}

# Leaves in KLP_LINES those that match.
log_has()
{
	local line found=()

	klp__log_lines
	for line in "${KLP_LINES[@]}"; do
		if [[ $line != [%#]\ * && $line =~ $1 ]]; then
			found+=("$line")
		fi
	done
	KLP_LINES=("${found[@]}")
	[ "${#found[@]}" -gt 0 ]
}

expect_no_log()
{
	! log_has "$1" || fail "the kernel's log should not have: $(klp__print_lines)"
}

klp__line_matches()
{
	case $1 in
	'~ '*) [[ $2 =~ ^(${1#'~ '})$ ]] ;;
	*) [ "$1" = "$2" ] ;;
	esac
}

# klp__match WANTED: do the lines of that array match KLP_LINES, both to their ends?
klp__match()
{
	local -n want=$1
	local i=0 j=0 gap=-1 from=0

	while [ "$j" -lt "${#KLP_LINES[@]}" ]; do
		if [ "${want[i]-}" = ... ]; then
			gap=$((i++)) from=$j
		elif [ "$i" -lt "${#want[@]}" ] && klp__line_matches "${want[i]}" "${KLP_LINES[j]}"; then
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
	[ "$i" -eq "${#want[@]}" ]
}

# klp__differs WANTED SEEN: shows how
klp__differs()
{
	diff -u --label wanted --label seen <(printf '%s\n' "$1") <(printf '%s\n' "$2") >&2 || true
}

expect_log()
{
	local wanted_lines=() line

	while read -r line; do
		[ -z "$line" ] || wanted_lines+=("$line")
	done
	klp__select "$@"
	if ! klp__match wanted_lines; then
		diag "the kernel's log ($*) is not as wanted:"
		klp__differs "$(printf '%s\n' "${wanted_lines[@]}")" "$(klp__print_lines)"
		fail "^ wanted by expect_log"
	fi
}

check_transcript()
{
	local name=$1 file=$KLP_DIR/expected/$1.log seen

	shift
	klp__select % '#' livepatch "$@"
	# Without what changes from run to run and says nothing.
	seen=$(klp__print_lines | sed -E 's/\b(0x[0-9a-f]{8,16}|[0-9a-f]{16})\b/<address>/g
		s/\b(pid|PID)([ :=]+)[0-9]+/\1\2<pid>/g' | ${TRANSCRIPT_FILTER:-cat})
	if [ "${KLP_UPDATE_EXPECTED:-}" = 1 ]; then
		mkdir -p "${file%/*}"
		printf '%s\n' "$seen" > "$file" || fail "cannot write $file"
		skip "expected/$name.log written, not compared"
	fi
	klp__read "$file" || fail "no $file (KLP_UPDATE_EXPECTED=1 writes it)"
	if [ "$REPLY" != "$seen" ]; then
		klp__differs "$REPLY" "$seen"
		fail "the transcript differs from expected/$name.log"
	fi
}

# ---- namespaces -------------------------------------------------------------

klp__netns_del()
{
	[ ! -e "/run/netns/$1" ] || ip netns del "$1"
}

netns_add()
{
	on_exit klp__netns_del "$1"
	run ip netns add "$1" || fail "cannot make the network namespace $1"
	ip -n "$1" link set lo up || fail "no loopback in $1"
}

in_ns()
{
	ip netns exec "$@"
}

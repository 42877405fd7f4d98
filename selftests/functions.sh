#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The shell library of the livepatch selftests. Source it, never run it:
#
#     #!/bin/bash
#     # SPDX-License-Identifier: GPL-2.0 OR MIT
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
# How a case runs. In a subshell of its own, in a process group of its own, with
# `set -eu` and standard input closed: the first command that fails ends the case
# (never the script) and the file and line are told. So call ktap_case as a plain
# command, never in `if`, `&&` or `||`: bash would switch `set -e` off. Variables
# that a case sets are gone after it. After the case, passed or not, its leftover
# processes are killed, and everything that it did through load_*, save_*,
# netns_add and on_exit is taken back, last first. What is done that way outside
# a case is taken back when the script ends, also by Ctrl-C or a time-out.
#
# Exit code of a script: 0 passed, 1 failed, 4 everything skipped (kselftest's).
#
# The plan and its cases
#   ktap_plan N               N cases follow; one more is added by ktap_finish
#   ktap_case NAME FUNC [ARG…]  NAME has no '#'; "R7: …" names the rule it proves
#   ktap_finish               the last case: nothing is left, the kernel is sound;
#                             then exit
#   diag TEXT…                a diagnostic line
#   fail TEXT…                end the case as failed (outside: end the script)
#   skip REASON…              end the case as skipped (outside: skip what is left)
#   expect_eq WHAT WANTED SEEN
#   expect_file PATH WANTED   the file holds exactly that
#
# What a script or a case needs; skips by name what is missing
#   require_root
#   require_command NAME…
#   require_config CONFIG_X…  each built in or a module; CONFIG_X=y asks for built in
#   require_file PATH…
#   require_module NAME…      a module of the running kernel's own (or built in)
#   require_ko NAME…          a module of ours. With KLP_MODULES_DIR set, a missing
#                             one is a failure: whoever set it said that all are there
#
# Commands
#   log TEXT…                 one line into the kernel log, as it is
#   run CMD…                  logs `% CMD`, runs it, gives its status
#   show CMD…                 runs it, logs each line that it prints as `# LINE`
#   write_file PATH VALUE     logs `% echo VALUE > PATH`, writes
#   expect_fail ERRNO CMD…    runs CMD (write_file too); it must fail and say the text
#                             of ERRNO (EINVAL, EBUSY, …; insmod's own words as well)
#   wait_for CMD…             tries CMD ten times a second until it succeeds; fails
#                             after KLP_WAIT seconds (60). No eval: use a function
#   file_is PATH VALUE        a condition for wait_for
#   on_exit CMD…              take back later (see above)
#
# Modules and livepatches (NAME is the module's name, without .ko)
#   find_ko NAME              prints the path: $KLP_MODULES_DIR/NAME.ko if that is set,
#                             else ../samples/*/NAME.ko, modules/NAME.ko
#   load_mod NAME [P=V…]      insmod, or modprobe if it is a module of the kernel
#   load_lp NAME [P=V…]       a livepatch; waits for the end of its transition
#   load_lp_nowait NAME [P=V…]
#   load_fails ERRNO NAME [P=V…]  insmod must fail with ERRNO and leave nothing
#   disable_lp NAME           writes 0 to enabled, waits until its sysfs folder is gone
#   wait_transition NAME      until NAME's transition has ended
#   unload_mod NAME           waits for its last user, then rmmod
#   set_param NAME PARAM VALUE  through /sys/module/NAME/parameters
#   keeps_its_state NAME FUNC [ARG…]  NAME is enabled; a cumulative patch that does not
#                             know its state is refused, and one that does takes its
#                             place; FUNC is asked thrice if what NAME changed is so
#   may_stay NAME             it cannot be unloaded (after a forced transition)
#   KLP_SYSFS                 /sys/kernel/livepatch
#
# The kernel's log
#   log_mark                  forget what was logged so far (each case begins so)
#   log_since                 the lines since the mark, without time stamps
#   log_of SELECT…            those of them that belong to SELECT: a module's name,
#                             `livepatch`, `%` (commands) or `#` (show)
#   expect_log SELECT…        standard input lists, in order, *all* lines that
#                             `log_of SELECT…` must give. A line is a fixed string;
#                             `~ ERE` is a pattern for the whole line; `...` stands
#                             for any number of lines, also none. White space in
#                             front is ignored. A difference is shown as a diff
#   log_has ERE               a condition for wait_for
#   expect_no_log ERE         no line since the mark matches (commands aside)
#   check_transcript NAME MODULE…  the whole story since the mark (commands, shown
#                             lines, livepatch, modules) equals expected/NAME.log.
#                             It goes through TRANSCRIPT_FILTER first, a command that
#                             puts lines in order whose order is up to chance
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
#   KLP_UPDATE_EXPECTED=1     check_transcript writes expected/NAME.log instead of
#                             comparing; such a case is reported as skipped, so that no
#                             run can pass by it. Read the difference, then commit it

set -u
export LC_ALL=C

KLP_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # for the scripts that source this file
KLP_SYSFS=/sys/kernel/livepatch
KLP_SCRIPT=$(basename "$0")
KLP_WAIT=${KLP_WAIT:-60}

KLP_TMP=		# folder for what must outlive a case's subshell
KLP_IN_CASE=		# set inside a case
KLP_CASE_PID=		# the running case, also its process group
KLP_CASE_NAME=
KLP_MARK=
KLP_START=		# mark of the script's beginning
KLP_TAINT=0
KLP_PLAN=0
KLP_NR=0
KLP_PASS=0
KLP_FAIL=0
KLP_SKIP=0
KLP_DONE=

# ---- KTAP ---------------------------------------------------------------

diag()
{
	if [ -n "$KLP_IN_CASE" ]; then
		# Gets its "# " when the case is over.
		printf '%s\n' "$*" >&2
	else
		printf '%s\n' "$*" | sed 's/^/# /'
	fi
}

fail()
{
	if [ -n "$KLP_IN_CASE" ]; then
		diag "$*"
		exit 1
	fi
	if [ "$KLP_PLAN" -eq 0 ]; then
		echo "KTAP version 1"
	fi
	echo "Bail out! $*"
	KLP_DONE=1
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
		KLP_NR=$((KLP_NR + 1))
		echo "ok $KLP_NR not run # SKIP $reason"
	done
	klp__exit_code
}

klp__exit_code()
{
	if [ "$KLP_FAIL" -gt 0 ]; then
		exit 1
	elif [ "$KLP_PASS" -eq 0 ]; then
		exit 4
	fi
	exit 0
}

ktap_plan()
{
	require_root
	require_file "$KLP_SYSFS"
	require_command dmesg insmod modprobe rmmod
	# Without it the core tells nothing of its transitions.
	if [ ! -w /proc/dynamic_debug/control ]; then
		skip "CONFIG_DYNAMIC_DEBUG is not in this kernel"
	fi
	local other
	for other in "$KLP_SYSFS"/*/; do
		if [ -d "$other" ]; then
			skip "the livepatch $(basename "$other") is already loaded"
		fi
	done

	KLP_TMP=$(mktemp -d "${TMPDIR:-/tmp}/klp-test.XXXXXX") ||
		fail "no temporary folder in ${TMPDIR:-/tmp}"
	mkdir "$KLP_TMP/undo"
	: > "$KLP_TMP/loaded"
	: > "$KLP_TMP/may_stay"
	trap klp__at_exit EXIT
	trap 'klp__interrupted 130 SIGINT' INT
	trap 'klp__interrupted 143 SIGTERM' TERM
	trap 'klp__interrupted 129 SIGHUP' HUP

	KLP_PLAN=$(($1 + 1))
	printf 'KTAP version 1\n1..%d\n' "$KLP_PLAN"

	log_mark "start"
	KLP_START=$KLP_MARK
	KLP_TAINT=$(cat /proc/sys/kernel/tainted)
	klp__debug_on
	if [ -e /proc/sys/kernel/ftrace_enabled ]; then
		save_sysctl kernel.ftrace_enabled
		echo 1 > /proc/sys/kernel/ftrace_enabled
	fi
}

klp__debug_on()
{
	local where flags

	while read -r where flags; do
		on_exit klp__to_file /proc/dynamic_debug/control \
			"file ${where%%:*} line ${where##*:} $flags"
	done < <(awk '/^kernel\/livepatch\// { print $1, $3 }' /proc/dynamic_debug/control)
	klp__to_file /proc/dynamic_debug/control 'file kernel/livepatch/* +p'
	# One line a task and attempt: the number of them is chance.
	klp__to_file /proc/dynamic_debug/control 'func klp_try_switch_task -p'
}

klp__print_case_output()
{
	if [ -s "$KLP_TMP/out" ]; then
		sed 's/^/# /' "$KLP_TMP/out"
	fi
	: > "$KLP_TMP/out"
}

# What the subshell of a case runs.
klp__run_case()
{
	# Children stay in the group that `set -m` made for this subshell.
	set +m
	trap - EXIT INT TERM HUP
	KLP_IN_CASE=1
	trap 'klp__err $? "$BASH_COMMAND" "${BASH_SOURCE[0]}" "$LINENO"' ERR
	set -eE
	"$@"
}

klp__err()
{
	# 4 is a skip on its way out through a command substitution.
	if [ "$1" -ne 4 ] || [ ! -e "$KLP_TMP/skip" ]; then
		echo "$(basename "$3"):$4: status $1 of: $2" >&2
	fi
}

klp__kill_case()
{
	local i

	if [ -z "$KLP_CASE_PID" ]; then
		return 0
	fi
	kill -TERM -- "-$KLP_CASE_PID" 2>/dev/null
	for ((i = 0; i < 20; i++)); do
		kill -0 -- "-$KLP_CASE_PID" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL -- "-$KLP_CASE_PID" 2>/dev/null
	# Lets bash forget the job without a word about how it ended.
	wait "$KLP_CASE_PID" 2>/dev/null
	KLP_CASE_PID=
}

ktap_case()
{
	local name=${1//#/} rc floor why

	shift
	KLP_NR=$((KLP_NR + 1))
	KLP_CASE_NAME=$name
	if [ -n "${KLP_CASES:-}" ]; then
		# shellcheck disable=SC2254 # it is a pattern
		case $name in
		$KLP_CASES) ;;
		*)
			KLP_SKIP=$((KLP_SKIP + 1))
			echo "ok $KLP_NR $name # SKIP not chosen by KLP_CASES"
			return 0
			;;
		esac
	fi

	log_mark "case $KLP_NR: $name"
	rm -f "$KLP_TMP/skip"
	: > "$KLP_TMP/out"
	floor=$(klp__undo_count)

	# A job of its own: so a signal to the script is served at once, not when
	# the case is over, and whatever the case started can be ended with it.
	set -m
	klp__run_case "$@" </dev/null >"$KLP_TMP/out" 2>&1 &
	KLP_CASE_PID=$!
	set +m
	wait "$KLP_CASE_PID"
	rc=$?
	klp__kill_case
	klp__undo "$floor" >> "$KLP_TMP/out" 2>&1
	klp__print_case_output

	if [ "$rc" -eq 0 ]; then
		KLP_PASS=$((KLP_PASS + 1))
		echo "ok $KLP_NR $name"
	elif [ "$rc" -eq 4 ] && [ -e "$KLP_TMP/skip" ]; then
		KLP_SKIP=$((KLP_SKIP + 1))
		read -r why < "$KLP_TMP/skip"
		echo "ok $KLP_NR $name # SKIP $why"
	else
		KLP_FAIL=$((KLP_FAIL + 1))
		echo "not ok $KLP_NR $name"
	fi
	KLP_CASE_NAME=
}

ktap_finish()
{
	local name="nothing is left behind and the kernel is sound" bad="" line mod taint

	klp__undo 0 > "$KLP_TMP/out" 2>&1
	klp__print_case_output
	for mod in "$KLP_SYSFS"/*/; do
		mod=$(basename "$mod")
		if [ -d "$KLP_SYSFS/$mod" ] && ! grep -qxF "$mod" "$KLP_TMP/may_stay"; then
			diag "livepatch $mod is still there"
			bad=1
		fi
	done
	while read -r mod; do
		if [ -d "/sys/module/$mod" ] && ! grep -qxF "$mod" "$KLP_TMP/may_stay"; then
			diag "module $mod is still loaded"
			bad=1
		fi
	done < <(sort -u "$KLP_TMP/loaded")

	# 128 is D (the kernel died somewhere), 512 is W (it warned).
	taint=$(cat /proc/sys/kernel/tainted)
	if [ $((taint & ~KLP_TAINT & (128 | 512))) -ne 0 ]; then
		diag "the kernel is newly tainted: $KLP_TAINT before, $taint after"
		bad=1
	fi
	# Not every checker taints: lockdep, RCU and kmemleak only print.
	while read -r line; do
		diag "$line"
		bad=1
	done < <(KLP_MARK=$KLP_START log_since any | grep -v '^[%#] ' |
		grep -E 'BUG: |WARNING: |Oops|UBSAN: |suspicious RCU usage|blocked for more than|detected (expedited )?stall|kmemleak: .* suspected')

	KLP_NR=$((KLP_NR + 1))
	if [ -n "$bad" ]; then
		KLP_FAIL=$((KLP_FAIL + 1))
		echo "not ok $KLP_NR $name"
	else
		echo "ok $KLP_NR $name"
	fi
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
	klp__print_case_output
	if [ -n "$KLP_CASE_NAME" ]; then
		echo "not ok $KLP_NR $KLP_CASE_NAME"
	fi
	echo "Bail out! stopped by $2"
	KLP_DONE=1
	exit "$1"
}

klp__at_exit()
{
	local rc=$?

	trap '' INT TERM HUP
	klp__kill_case
	klp__undo 0 2>&1 | sed 's/^/# /'
	rm -rf "$KLP_TMP"
	if [ -z "$KLP_DONE" ]; then
		echo "Bail out! $KLP_SCRIPT ended without ktap_finish"
		rc=1
	fi
	exit "$rc"
}

# ---- what is taken back -------------------------------------------------

# One file for each thing to take back, its words separated by NUL, so that a
# subshell can add one, nothing is evaluated twice, and a killed case is no loss.

klp__undo_count()
{
	local files=("$KLP_TMP/undo"/*)

	if [ -e "${files[0]}" ]; then
		echo "${#files[@]}"
	else
		echo 0
	fi
}

on_exit()
{
	local nr

	nr=$(klp__undo_count)
	printf '%s\0' "$@" > "$KLP_TMP/undo/$(printf '%06d' "$nr")"
}

# klp__undo FLOOR: take back all but the first FLOOR
klp__undo()
{
	local nr file words

	nr=$(klp__undo_count)
	while [ "$nr" -gt "$1" ]; do
		nr=$((nr - 1))
		file=$KLP_TMP/undo/$(printf '%06d' "$nr")
		mapfile -d '' words < "$file"
		rm -f "$file"
		"${words[@]}" || echo "could not take back: ${words[*]}"
	done
}

klp__to_file()
{
	printf '%s\n' "$2" > "$1"
}

klp__restore_file()
{
	# It may have gone with the module or namespace that made it.
	if [ -e "$1" ]; then
		printf '%s\n' "$2" > "$1"
	fi
}

save_file()
{
	local value

	value=$(cat "$1") || fail "cannot read $1"
	on_exit klp__restore_file "$1" "$value"
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

	if [ ! -d "/sys/module/$mod" ] || grep -qxF "$mod" "$KLP_TMP/may_stay"; then
		return 0
	fi
	if [ -e "$KLP_SYSFS/$mod/enabled" ]; then
		echo "livepatch $mod was left enabled: disabled now"
		wait_for file_is "$KLP_SYSFS/$mod/transition" 0 ||
			echo "its transition did not end"
		echo 0 > "$KLP_SYSFS/$mod/enabled"
		wait_for test ! -e "$KLP_SYSFS/$mod" || return 1
	else
		echo "module $mod was left loaded: removed now"
	fi
	wait_for klp__unused "$mod" || return 1
	rmmod "$mod"
}

# ---- needs --------------------------------------------------------------

require_root()
{
	if [ "$(id -u)" -ne 0 ]; then
		skip "needs root"
	fi
}

require_command()
{
	local name

	for name in "$@"; do
		if ! command -v "$name" >/dev/null; then
			skip "no command $name"
		fi
	done
}

require_file()
{
	local path

	for path in "$@"; do
		if [ ! -e "$path" ]; then
			skip "no $path"
		fi
	done
}

klp__config()
{
	local file
	file=/boot/config-$(uname -r)

	if [ -r /proc/config.gz ]; then
		gzip -dc /proc/config.gz
	elif [ -r "$file" ]; then
		cat "$file"
	elif [ -r "/lib/modules/$(uname -r)/build/.config" ]; then
		cat "/lib/modules/$(uname -r)/build/.config"
	else
		return 1
	fi
}

require_config()
{
	local config option pattern

	config=$(klp__config) ||
		skip "the kernel's configuration is not known: neither /proc/config.gz nor /boot/config-$(uname -r)"
	for option in "$@"; do
		case $option in
		*=*) pattern=$option ;;
		*) pattern="$option=[ym]" ;;
		esac
		if ! grep -qx "$pattern" <<< "$config"; then
			skip "$option is not in this kernel"
		fi
	done
}

require_module()
{
	local name

	for name in "$@"; do
		if [ ! -d "/sys/module/$name" ] && ! modprobe -nq "$name"; then
			skip "no module $name in this kernel"
		fi
	done
}

require_ko()
{
	local name

	for name in "$@"; do
		if ! find_ko "$name" >/dev/null; then
			if [ -n "${KLP_MODULES_DIR:-}" ]; then
				fail "no $name.ko in $KLP_MODULES_DIR"
			fi
			skip "$name.ko is not built"
		fi
	done
}

# ---- commands -----------------------------------------------------------

log()
{
	printf '%s\n' "$*" > /dev/kmsg
}

# The words as a person would type them, modules without their folder.
klp__words()
{
	local word out=

	if [ "$1" = write_file ]; then
		printf 'echo %s > %s' "$3" "$2"
		return
	fi
	for word in "$@"; do
		case $word in
		*/*.ko) word=${word##*/} ;;
		esac
		out+="$word "
	done
	printf '%s' "${out% }"
}

run()
{
	log "% $(klp__words "$@")"
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

write_file()
{
	log "% $(klp__words write_file "$@")"
	klp__to_file "$1" "$2" || fail "cannot write $2 to $1"
}

# The texts by which a program may report an errno, one a line.
klp__strerror()
{
	case $1 in
	EPERM) echo "Operation not permitted" ;;
	ENOENT) printf '%s\n' "No such file or directory" "Unknown symbol in module" ;;
	ESRCH) printf '%s\n' "No such process" "Module has wrong symbol version" ;;
	EINTR) echo "Interrupted system call" ;;
	EIO) echo "Input/output error" ;;
	ENXIO) echo "No such device or address" ;;
	E2BIG) echo "Argument list too long" ;;
	ENOEXEC) printf '%s\n' "Exec format error" "Invalid module format" ;;
	EBADF) echo "Bad file descriptor" ;;
	EAGAIN) echo "Resource temporarily unavailable" ;;
	ENOMEM) echo "Cannot allocate memory" ;;
	EACCES) echo "Permission denied" ;;
	EFAULT) echo "Bad address" ;;
	EBUSY) echo "Device or resource busy" ;;
	EEXIST) echo "File exists" ;;
	ENODEV) echo "No such device" ;;
	ENOTDIR) echo "Not a directory" ;;
	EINVAL) printf '%s\n' "Invalid argument" "Invalid parameters" ;;
	ENFILE) echo "Too many open files in system" ;;
	ENOTTY) echo "Inappropriate ioctl for device" ;;
	ENOSPC) echo "No space left on device" ;;
	EROFS) echo "Read-only file system" ;;
	EMLINK) echo "Too many links" ;;
	EDOM) echo "Numerical argument out of domain" ;;
	ERANGE) echo "Numerical result out of range" ;;
	EDEADLK) echo "Resource deadlock avoided" ;;
	ENOSYS) echo "Function not implemented" ;;
	EOVERFLOW) echo "Value too large for defined data type" ;;
	EILSEQ) echo "Invalid or incomplete multibyte or wide character" ;;
	EOPNOTSUPP | ENOTSUPP) echo "Operation not supported" ;;
	ETIMEDOUT) echo "Connection timed out" ;;
	EALREADY) echo "Operation already in progress" ;;
	EINPROGRESS) echo "Operation now in progress" ;;
	ECANCELED) echo "Operation canceled" ;;
	EKEYREJECTED) echo "Key was rejected by service" ;;
	*) fail "expect_fail does not know the errno $1" ;;
	esac
}

expect_fail()
{
	local errno=$1 texts out rc=0 what

	shift
	texts=$(klp__strerror "$errno")
	what=$(klp__words "$@")
	log "% $what"
	if [ "$1" = write_file ]; then
		out=$(klp__to_file "$2" "$3" 2>&1) || rc=$?
	else
		out=$("$@" 2>&1) || rc=$?
	fi
	if [ "$rc" -eq 0 ]; then
		fail "should have failed with $errno: $what"
	fi
	if ! grep -qF -e "$texts" <<< "$out"; then
		fail "wanted $errno from: $what; seen: $out"
	fi
}

wait_for()
{
	# Counted in tries, not by the clock: a stalled machine gets its tries.
	local tries=$((KLP_WAIT * 10))

	until "$@"; do
		if [ "$((tries--))" -le 0 ]; then
			return 1
		fi
		sleep 0.1
	done
}

file_is()
{
	local value

	value=$(cat "$1" 2>/dev/null) && [ "$value" = "$2" ]
}

expect_eq()
{
	if [ "$2" != "$3" ]; then
		fail "$1: wanted $2, seen $3"
	fi
}

expect_file()
{
	local value

	value=$(cat "$1") || fail "cannot read $1"
	expect_eq "$1" "$2" "$value"
}

# ---- modules ------------------------------------------------------------

find_ko()
{
	local path

	if [ -n "${KLP_MODULES_DIR:-}" ]; then
		if [ -f "$KLP_MODULES_DIR/$1.ko" ]; then
			echo "$KLP_MODULES_DIR/$1.ko"
			return 0
		fi
		return 1
	fi
	for path in "$KLP_DIR"/../samples/*/"$1.ko" "$KLP_DIR/modules/$1.ko" \
		"$KLP_DIR"/modules/*/"$1.ko" "$KLP_DIR"/modules/*/*/"$1.ko"; do
		if [ -f "$path" ]; then
			realpath "$path"
			return 0
		fi
	done
	return 1
}

klp__unused()
{
	file_is "/sys/module/$1/refcnt" 0
}

load_mod()
{
	local mod=$1 ko out

	shift
	if [ -d "/sys/module/$mod" ]; then
		fail "module $mod is already loaded"
	fi
	echo "$mod" >> "$KLP_TMP/loaded"
	on_exit klp__drop_mod "$mod"
	if ko=$(find_ko "$mod"); then
		out=$(run insmod "$ko" "$@" 2>&1) || fail "$out"
	elif modprobe -nq "$mod"; then
		out=$(run modprobe "$mod" "$@" 2>&1) || fail "$out"
	else
		fail "no $mod.ko${KLP_MODULES_DIR:+ in $KLP_MODULES_DIR}"
	fi
}

load_lp_nowait()
{
	load_mod "$@"
	if [ ! -d "$KLP_SYSFS/$1" ]; then
		fail "module $1 is no livepatch: $KLP_SYSFS/$1 did not appear"
	fi
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

# The tasks that hold a transition up.
klp__stuck()
{
	local state task names=

	for task in /proc/[0-9]*/task/[0-9]*; do
		state=$(cat "$task/patch_state" 2>/dev/null) || continue
		names+="$(cat "$task/comm" 2>/dev/null):$state "
	done
	# The crowd is where the patch wants to be, the few are not.
	tr ' ' '\n' <<< "$names" | sort -t: -k2 | uniq -c | tr '\n' ';'
}

load_fails()
{
	local errno=$1 mod=$2 ko

	shift 2
	ko=$(find_ko "$mod") || fail "no $mod.ko"
	echo "$mod" >> "$KLP_TMP/loaded"
	on_exit klp__drop_mod "$mod"
	expect_fail "$errno" insmod "$ko" "$@"
	wait_for test ! -d "/sys/module/$mod" || fail "$mod failed to load, but is there"
	if [ -d "$KLP_SYSFS/$mod" ]; then
		fail "$mod failed to load, but its livepatch is there"
	fi
}

disable_lp()
{
	write_file "$KLP_SYSFS/$1/enabled" 0
	wait_for test ! -e "$KLP_SYSFS/$1" ||
		fail "livepatch $1 does not get disabled: $(klp__stuck)"
}

unload_mod()
{
	local out

	wait_for klp__unused "$1" ||
		fail "module $1 has $(cat "/sys/module/$1/refcnt") users"
	out=$(run rmmod "$1" 2>&1) || fail "$out"
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

may_stay()
{
	echo "$1" >> "$KLP_TMP/may_stay"
}

# ---- the kernel's log ---------------------------------------------------

log_mark()
{
	KLP_MARK="${KLP_SCRIPT}[$$.$RANDOM$RANDOM]: ${*:-mark}"
	log "$KLP_MARK"
}

# log_since [any]: with `any` it is no error if the mark was overwritten
log_since()
{
	local all

	all=$(dmesg) || fail "dmesg failed"
	if ! grep -qF -e "$KLP_MARK" <<< "$all"; then
		if [ "${1:-}" != any ]; then
			fail "the kernel's log was overwritten: a larger CONFIG_LOG_BUF_SHIFT or log_buf_len is needed"
		fi
		# All that is left of it came after the mark.
		all=$KLP_MARK$'\n'$all
	fi
	# First the time stamp goes, then with CONFIG_PRINTK_CALLER the caller.
	awk -v mark="$KLP_MARK" '
		{ at = index($0, mark) }
		seen && !at { print }
		at { seen = 1 }
		END { exit !seen }' <<< "$all" |
		sed -E 's/^\[[ 0-9.]+\] //; s/^\[ *[CT][0-9]+\] //' ||
		true
}

log_of()
{
	local lines

	lines=$(log_since) || exit 1
	awk -v select="$*" '
		BEGIN {
			n = split(select, names, " ")
			for (i = 1; i <= n; i++)
				prefix[i] = names[i] == "%" || names[i] == "#" ? names[i] " " : names[i] ":"
		}
		# The module loader speaks in the name of the module.
		/: (loading out-of-tree module taints|tainting) kernel/ { next }
		/: module verification failed: / { next }
		{
			for (i = 1; i <= n; i++)
				if (index($0, prefix[i]) == 1) {
					print
					next
				}
		}' <<< "$lines"
}

log_has()
{
	local lines

	lines=$(log_since) || exit 1
	sed '/^[%#] /d' <<< "$lines" | grep -E -e "$1" >/dev/null
}

expect_no_log()
{
	local lines seen

	lines=$(log_since) || exit 1
	seen=$(sed '/^[%#] /d' <<< "$lines" | grep -E -e "$1") || return 0
	fail "the kernel's log should not have: $seen"
}

klp__line_matches()
{
	case $1 in
	'~ '*) [[ $2 =~ ^(${1#'~ '})$ ]] ;;
	*) [ "$1" = "$2" ] ;;
	esac
}

# Matches the lines of array $2 with the wanted ones of array $1 to their ends.
klp__match()
{
	local -n want=$1 seen=$2
	local i=0 j=0 gap=-1 from=0

	while [ "$j" -lt "${#seen[@]}" ]; do
		if [ "$i" -lt "${#want[@]}" ] && [ "${want[i]}" = ... ]; then
			gap=$i
			from=$j
			i=$((i + 1))
		elif [ "$i" -lt "${#want[@]}" ] && klp__line_matches "${want[i]}" "${seen[j]}"; then
			i=$((i + 1))
			j=$((j + 1))
		elif [ "$gap" -ge 0 ]; then
			# Let the last gap swallow one line more.
			from=$((from + 1))
			i=$((gap + 1))
			j=$from
		else
			return 1
		fi
	done
	while [ "$i" -lt "${#want[@]}" ] && [ "${want[i]}" = ... ]; do
		i=$((i + 1))
	done
	[ "$i" -eq "${#want[@]}" ]
}

expect_log()
{
	# shellcheck disable=SC2034 # klp__match takes them by name
	local wanted_lines=() seen_lines=() text

	mapfile -t wanted_lines < <(sed -E 's/^[[:space:]]+//; /^$/d')
	text=$(log_of "$@") || exit 1
	if [ -n "$text" ]; then
		# shellcheck disable=SC2034 # as above
		mapfile -t seen_lines <<< "$text"
	fi
	if ! klp__match wanted_lines seen_lines; then
		diag "the kernel's log ($*) is not as wanted:"
		diff -u --label wanted --label seen \
			<(printf '%s\n' "${wanted_lines[@]}") <(printf '%s\n' "$text") >&2 || true
		fail "^ wanted by expect_log"
	fi
}

# What changes from run to run and says nothing.
klp__normalise()
{
	sed -E \
		-e 's/\b0x[0-9a-f]{8,16}\b/<address>/g' \
		-e 's/\b[0-9a-f]{16}\b/<address>/g' \
		-e 's/\b(pid|PID)([ :=]+)[0-9]+/\1\2<pid>/g'
}

check_transcript()
{
	local name=$1 file=$KLP_DIR/expected/$1.log seen

	shift
	seen=$(log_of % '#' livepatch "$@") || exit 1
	seen=$(klp__normalise <<< "$seen" | ${TRANSCRIPT_FILTER:-cat})
	if [ "${KLP_UPDATE_EXPECTED:-}" = 1 ]; then
		printf '%s\n' "$seen" > "$file" || fail "cannot write $file"
		skip "expected/$name.log written, not compared"
	fi
	[ -r "$file" ] || fail "no $file (KLP_UPDATE_EXPECTED=1 writes it)"
	if ! diff -u --label "expected/$name.log" --label seen "$file" <(printf '%s\n' "$seen") >&2; then
		fail "the transcript differs from expected/$name.log"
	fi
}

# ---- namespaces ---------------------------------------------------------

klp__netns_del()
{
	if ip netns list | grep -qE "^$1( |\$)"; then
		ip netns del "$1"
	fi
}

netns_add()
{
	on_exit klp__netns_del "$1"
	run ip netns add "$1" || fail "cannot make the network namespace $1"
	ip -n "$1" link set lo up || fail "no loopback in $1"
}

in_ns()
{
	local ns=$1

	shift
	ip netns exec "$ns" "$@"
}

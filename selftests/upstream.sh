# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the kernel's own livepatch selftests as they stand in its source tree, and tells their results as KTAP. Each
# script is a subtest, each of its tests a case. To be sourced with one word: `rust` for our modules of the kernel's
# names, `c` for the kernel's own.
#
# From the environment
#   KLP_MODULES_DIR   where our .ko files are; modules/ without it
#   KLP_UPSTREAM      the folder of other scripts than those of the kernel's tree, which load what is installed
#   KLP_CASES         a shell pattern: other scripts are skipped (test-syscall)
#   KLP_REPEAT        how often each script is run, 1

set -u
export LC_ALL=C

upstream__skip()
{
	printf 'KTAP version 1\n1..0 # SKIP %s\n' "$1"
	exit 4
}

# upstream__said: what was printed since the last result, as comments
upstream__said()
{
	[ "${#said[@]}" -eq 0 ] || printf '    # %s\n' "${said[@]}"
	said=()
}

# upstream__script NAME: run it; REPLY is what the result line of the subtest ends with; fails if any test did
upstream__script()
{
	local tests line rest open='' status='' nr=0 failed=0 said=()

	mapfile -t tests < <(sed -n 's/^[[:space:]]*start_test "\(.*\)"$/\1/p' "$1.sh")
	printf '    # Subtest: %s\n    1..%d\n' "$1" "${#tests[@]}"
	while IFS= read -r line || [ -n "$line" ]; do
		rest=$line
		case $line in
		"TEST: "*" ... "*)
			open=${line#TEST: } said=()
			rest=${open#* ... } open=${open%% ... *}
			;;
		@status=*)
			status=${line#@status=}
			break
			;;
		esac
		# A job of the script may have died between a test's name and its result, which is then on a line of its own.
		if [ -n "$open" ] && [ "$rest" = ok ]; then
			printf '    ok %d %s\n' $((++nr)) "$open"
			open='' said=()
		elif [ -n "$rest" ] && [ "$rest" != "not ok" ]; then
			said+=("$rest")
		fi
	done < <("./$1.sh" 2>&1; printf '\n@status=%d\n' $?)

	REPLY=$1
	if [ "$status" -eq 4 ]; then
		line=${said[0]:-no reason given}
		REPLY+=" # SKIP ${line#SKIP: }"
	else
		said+=("the script ended with exit status $status")
	fi
	# A script ends with the first test that fails; silence is no success either.
	for line in "${tests[@]:nr}"; do
		if [ "$status" -eq 4 ]; then
			printf '    ok %d %s%s\n' $((++nr)) "$line" "${REPLY#"$1"}"
			continue
		fi
		upstream__said
		[ "$line" = "$open" ] || echo "    # not reached"
		printf '    not ok %d %s\n' $((++nr)) "$line"
		failed=1
	done
	# All tests passed, and yet something is wrong.
	if [ "$failed" -eq 0 ] && [ "$status" -ne 0 ] && [ "$status" -ne 4 ]; then
		upstream__said
		failed=1
	fi
	return "$failed"
}

# upstream__is_foreign PROGRAM: it is built for another machine, by the field e_machine of its ELF header
upstream__is_foreign()
{
	local status=0

	# One that is missing is no reason to skip.
	cmp -s -i 18 -n 2 "$1" /bin/sh || status=$?
	[ "$status" -eq 1 ]
}

upstream()
{
	local here modules built from scripts=() name round nr=0 failed=0 passed=0

	here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
	modules=${KLP_MODULES_DIR:-$here/modules}
	# Beside the folder in which xtask gathers all modules, or where make has built it.
	built=$modules/upstream
	[ -z "${KLP_MODULES_DIR:-}" ] || built=${modules%/*}/upstream
	[ "$1" = rust ] || modules=$built/test_modules

	[ "$(id -u)" -eq 0 ] || upstream__skip "must be run as root"
	from=${KLP_UPSTREAM:-$built/scripts}
	[ -f "$from/functions.sh" ] ||
		upstream__skip "the kernel was built without its full source: no tools/testing/selftests/livepatch"
	[ -n "${KLP_UPSTREAM-}" ] || [ -f "$modules/test_klp_livepatch.ko" ] || upstream__skip "test_klp_livepatch is not built for this kernel"
	[ -d /sys/kernel/livepatch ] || upstream__skip "CONFIG_LIVEPATCH is not in this kernel"
	[ -e /sys/kernel/debug/dynamic_debug/control ] || mount -t debugfs none /sys/kernel/debug ||
		upstream__skip "debugfs cannot be mounted"
	[ -w /sys/kernel/debug/dynamic_debug/control ] || upstream__skip "CONFIG_DYNAMIC_DEBUG is not in this kernel"

	KLP_TMP=$(mktemp -d "${TMPDIR:-/tmp}/klp-upstream.XXXXXX") || exit 1
	trap 'rm -rf "$KLP_TMP"' EXIT
	cd "$KLP_TMP" || exit 1
	ln -s "$from"/*.sh "$built/test_klp-call_getpid" .
	ln -s "$modules" test_modules
	# The scripts ask for a folder with which modules can be built; they are.
	export KDIR=$from

	for name in test-*.sh; do
		for ((round = 0; round < ${KLP_REPEAT:-1}; round++)); do
			scripts+=("${name%.sh}")
		done
	done
	printf 'KTAP version 1\n1..%d\n' "${#scripts[@]}"
	for name in "${scripts[@]}"; do
		# shellcheck disable=SC2053 # it is a pattern
		if [[ $name != ${KLP_CASES:-*} ]]; then
			echo "ok $((++nr)) $name # SKIP not chosen by KLP_CASES"
		elif [ "$name" = test-syscall ] && upstream__is_foreign test_klp-call_getpid; then
			echo "ok $((++nr)) $name # SKIP its program is built for another machine"
		elif upstream__script "$name"; then
			echo "ok $((++nr)) $REPLY"
			[[ $REPLY == *"# SKIP"* ]] || passed=1
		else
			echo "not ok $((++nr)) $REPLY"
			failed=1
		fi
	done
	[ "$failed" -eq 0 ] || exit 1
	[ "$passed" -eq 1 ] || exit 4
	exit 0
}

upstream "$1"

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# What the kernel itself says of the livepatches that `cargo xtask preflight` does not call clean: the list is that of
# selftests/preflight, so that neither verdict can change without the other.
#
# xtask: modules=trouble,asm-trampoline,selftests

. "$(dirname "$0")/functions.sh"

require_ko trouble_target asm_target test_klp_redirect_target

verdict()
{
	load_mod "$3"
	case $2 in
	refused)
		load_fails EINVAL "$1"
		;;
	warning)
		load_lp "$1"
		disable_lp "$1"
		unload_mod "$1"
		;;
	*)
		fail "selftests/preflight: what is $2?"
		;;
	esac
}

list=$(awk '!/^#/ && $3' "$KLP_DIR/preflight")
ktap_plan "$(wc -l <<< "$list")"
while read -r module grade target; do
	ktap_case "$module: $grade" verdict "$module" "$grade" "$target"
done <<< "$list"
ktap_finish

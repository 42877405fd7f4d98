#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# samples/function-fix: a name of a network device with a control character in it is refused,
# by one replaced function and no callback; every other name is treated as before.
#
# xtask: modules=function-fix,naive-function-fix,selftests

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/samples.sh"

LP=function_fix
NAIVE=naive_function_fix
ESC=$'a\eb'

require_command ip setpriv unshare
require_module dummy
require_ko "$LP" "$NAIVE" test_klp_names test_klp_atomic_replace
ktap_plan 7

# Devices that can be made at will. What is made outside a namespace goes with the module.
with_dummies()
{
	load_mod dummy numdummies=0
	log_mark
}

# The same where the kernel calls the function that is replaced.
with_callers()
{
	! has_config CONFIG_CC_IS_CLANG=y || skip "clang has inlined dev_valid_name() into its callers"
	with_dummies
}

# verdict SHOWN NAME: whether a device can be called so; it is gone again afterwards
verdict()
{
	if ip link add name "$2" type dummy 2> "$KLP_TMP/said"; then
		ip link del "$2"
		echo "a device called $1: taken"
		return
	fi
	# The kernel's answer, not that of ip itself.
	has_line "$KLP_TMP/said" "RTNETLINK answers: Invalid argument" || fail "not refused by the kernel"
	echo "a device called $1: refused"
}

main_case()
{
	with_callers
	show verdict 'a<ESC>b' "$ESC"
	load_lp "$LP"
	show verdict 'a<ESC>b' "$ESC"
	show verdict 'ab' ab
	disable_lp "$LP"
	unload_mod "$LP"
	show verdict 'a<ESC>b' "$ESC"
	check_transcript function-fix "$LP"
}

# A replacement that differs from its original in anything but the fix is a defect: both are asked about every byte, alone
# and in three places of a long name, and about every length.
but_for_the_fix()
{
	local before now i name wanted changed=0
	# No control character up to the NUL.
	local clean='^([2-689a-f][0-9a-f]|7[0-9a-e])*(00|$)'

	load_mod test_klp_names
	mapfile -t before < /proc/test_klp_names
	load_lp "$LP"
	mapfile -t now < /proc/test_klp_names
	expect_eq "names" 1306 "${#before[@]}"
	expect_eq "names with the patch" 1306 "${#now[@]}"
	for i in "${!before[@]}"; do
		name=${before[i]% *}
		wanted=${before[i]}
		[[ $name =~ $clean ]] || wanted="$name refused"
		[ "$wanted" = "${now[i]}" ] || fail "before: ${before[i]}; with the patch: ${now[i]}"
		[ "$wanted" = "${before[i]}" ] || changed=$((changed + 1))
	done
	# 32 control characters and DEL, less NUL and the five that are white space, in four places.
	expect_eq "names that are refused now" $((27 * 4)) "$changed"
	disable_lp "$LP"
	mapfile -t now < /proc/test_klp_names
	expect_eq "verdicts without the patch" "${before[*]}" "${now[*]}"
}

keeps_its_name()
{
	with_callers
	ip link add name "$ESC" type dummy
	load_lp "$LP"
	ip link set "$ESC" mtu 1400
	ip link set "$ESC" name good
	expect_fail EINVAL ip link set good name "$ESC"
	expect_file /sys/class/net/good/mtu 1400
}

# rename_as_nobody: in a user and network namespace of his own
rename_as_nobody()
{
	# shellcheck disable=SC2016 # the dollar is the inner shell's
	setpriv --reuid=65534 --regid=65534 --clear-groups unshare -Urn bash -euc '
		ip link add name good type dummy
		ip link set good name "$1"' bash "$ESC"
}

anybody()
{
	require_config CONFIG_NET_NS CONFIG_USER_NS
	with_callers
	rename_as_nobody || fail "refused without the patch"
	log_has "^$ESC: renamed from good" || fail "the name is not in the kernel's log"
	load_lp "$LP"
	log_mark
	expect_fail EINVAL rename_as_nobody
	expect_no_log 'renamed from good'
}

# renames NAME: there and back
renames()
{
	ip -batch - <<-EOF
		link set $1 name $1-new
		link set $1-new name $1
	EOF
}

while_renaming()
{
	with_dummies
	ip link add name klp0 type dummy
	comes_and_goes "$LP" repeat renames klp0
}

# It declares no state: nothing of it would be left behind. So nobody objects when a cumulative patch forgets the fix.
forgotten()
{
	with_dummies
	load_lp "$LP"
	load_lp test_klp_atomic_replace replace=1
	wait_for test ! -e "$KLP_SYSFS/$LP" || fail "$LP was not replaced"
	unload_mod "$LP"
	expect_eq "without the fix" "a device called a<ESC>b: taken" "$(verdict 'a<ESC>b' "$ESC")"
}

# ANCHOR: naive
naive()
{
	with_callers
	show verdict voilà voilà
	load_lp "$NAIVE"
	show verdict 'a<ESC>b' "$ESC"
	# The patch that is to refuse more takes what the kernel has always refused.
	show verdict voilà voilà
	disable_lp "$NAIVE"
	unload_mod "$NAIVE"
	check_transcript naive-function-fix "$NAIVE"
}
# ANCHOR_END: naive

ktap_case "a name with ESC before, during and after, as in the transcript" main_case
ktap_case "but for the fix every verdict is that of the original" but_for_the_fix
ktap_case "a device that has such a name keeps it, and can be given another" keeps_its_name
ktap_case "root in a user namespace of his own is refused, too" anybody
ktap_case "enabled and disabled while a device is renamed" while_renaming
ktap_case "R13: a successor without the fix is not refused, and takes it away" forgotten
ktap_case "naive: what the kernel refuses is taken" naive
ktap_finish

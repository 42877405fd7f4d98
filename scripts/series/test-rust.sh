#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The livepatch samples in Rust: what they change while they are loaded, and
# what the core logs of them.

# shellcheck disable=SC1091
. "$(dirname "$0")/functions.sh"

MOD_SAMPLE=rust_livepatch_sample
MOD_DEMO=rust_livepatch_callbacks_demo
MOD_FIX1=rust_livepatch_shadow_fix1
MOD_FIX2=rust_livepatch_shadow_fix2
MOD_TARGET=livepatch-callbacks-mod

for mod in $MOD_SAMPLE $MOD_DEMO $MOD_FIX1 $MOD_FIX2 $MOD_TARGET; do
	modprobe -n -q "$mod" || skip "no module $mod"
done

setup_config

# load_sample(modname) - load a livepatch that is installed with the kernel,
#			 and wait until its transition finishes
function load_sample() {
	local mod="$1"

	log "% modprobe $mod"
	modprobe "$mod" || die "failed to load module $mod"
	loop_until 'grep -q '^0$' $SYSFS_KLP_DIR/$mod/transition' ||
		die "failed to complete transition"
}

# enabled(modname), disabled(modname) - what the core logs of it
function enabled() {
	echo "livepatch: enabling patch '$1'
livepatch: '$1': initializing patching transition
livepatch: '$1': starting patching transition
livepatch: '$1': completing patching transition
livepatch: '$1': patching complete"
}

function disabled() {
	echo "livepatch: '$1': initializing unpatching transition
livepatch: '$1': starting unpatching transition
livepatch: '$1': completing unpatching transition
livepatch: '$1': unpatching complete"
}

# called(callback) - how often the demo was called so since the test started
function called() {
	dmesg | awk -v last_dmesg="$LAST_DMESG" 'p; $0 == last_dmesg { p=1 }' | \
		grep -c "$MOD_DEMO: $1"
}


start_test "a Rust function in place of the kernel's"

load_sample $MOD_SAMPLE
patched=$(cat /proc/cmdline)
disable_lp $MOD_SAMPLE
unload_lp $MOD_SAMPLE

if [[ "$patched" != "this has been live patched" ]] ; then
	die "/proc/cmdline was not patched: $patched"
fi
if [[ "$(cat /proc/cmdline)" == "$patched" ]] ; then
	die "/proc/cmdline is still patched"
fi

check_result "$(enabled $MOD_SAMPLE)
$(disabled $MOD_SAMPLE)"


start_test "callbacks in Rust, of the kernel and of a module"

modprobe $MOD_TARGET || die "failed to load module $MOD_TARGET"
load_sample $MOD_DEMO
disable_lp $MOD_DEMO
unload_lp $MOD_DEMO
modprobe -r $MOD_TARGET

for callback in pre_patch post_patch pre_unpatch post_unpatch; do
	if [[ $(called "${callback}_callback") -ne 2 ]] ; then
		die "$callback was called $(called "${callback}_callback") times"
	fi
done

check_result "$(enabled $MOD_DEMO)
$(disabled $MOD_DEMO)"


start_test "shadow variables in Rust"

load_sample $MOD_FIX1
load_sample $MOD_FIX2
disable_lp $MOD_FIX2
unload_lp $MOD_FIX2
disable_lp $MOD_FIX1
unload_lp $MOD_FIX1

check_result "$(enabled $MOD_FIX1)
$(enabled $MOD_FIX2)
$(disabled $MOD_FIX2)
$(disabled $MOD_FIX1)"


exit 0

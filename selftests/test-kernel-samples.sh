#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The kernel's own samples/livepatch, in C as they stand in its tree, and their livepatches in Rust by the same names: both
# tell the same stories, line for line.
#
# KLP_PREFIX stands before the names of ours where these are built in the kernel's tree: `rust_`.
#
# xtask: modules=kernel-samples

. "$(dirname "$0")/functions.sh"

PREFIX=${KLP_PREFIX-}
RUST=(livepatch_{callbacks_demo,sample,shadow_fix1,shadow_fix2})
TARGETS=(livepatch_{callbacks_busymod,callbacks_mod,shadow_mod})

require_ko "${RUST[@]/#/$PREFIX}" "${RUST[@]//_/-}" "${TARGETS[@]//_/-}"
ktap_plan 4

# A folder for each language, in which a module has the name that the loader gives it.
mkdir "$KLP_TMP"/{c,rust}
for name in "${RUST[@]}" "${TARGETS[@]}"; do
	ln -s "$(find_ko "${name//_/-}")" "$KLP_TMP/c/$name.ko"
done
for name in "${RUST[@]/#/$PREFIX}"; do
	ln -s "$(find_ko "$name")" "$KLP_TMP/rust/$name.ko"
done
for name in "${TARGETS[@]}"; do
	ln -s "$KLP_TMP/c/$name.ko" "$KLP_TMP/rust/"
done

# both FILTER STORY MODULE…: the log of MODULE… is the same, by way of FILTER, whoever tells the story of livepatches `${p}NAME`
both()
{
	local filter=$1 story=$2 language p=

	shift 2
	for language in c rust; do
		log_mark
		KLP_MODULES_DIR=$KLP_TMP/$language "$story"
		log_of livepatch "$@" "${@/#/$p}" | sed "s/\<$p\(livepatch_\)/\1/g" | "$filter" > "$KLP_TMP/$language.log"
		p=$PREFIX
	done
	[ "$(wc -l < "$KLP_TMP/c.log")" -gt 5 ] || fail "the modules in C have logged next to nothing"
	diff -u --label C --label Rust "$KLP_TMP/c.log" "$KLP_TMP/rust.log" || fail "they do not log the same"
}

sample()
{
	load_lp "${p}livepatch_sample"
	expect_file /proc/cmdline "this has been live patched"
	disable_lp "${p}livepatch_sample"
	unload_mod "${p}livepatch_sample"
}

# One target is there before the livepatch, one comes after it.
callbacks()
{
	load_mod livepatch_callbacks_mod
	load_lp "${p}livepatch_callbacks_demo"
	load_mod livepatch_callbacks_busymod
	wait_for log_has 'patched_work_func$'
	unload_mod livepatch_callbacks_mod
	disable_lp "${p}livepatch_callbacks_demo"
	unload_mod "${p}livepatch_callbacks_demo"
	unload_mod livepatch_callbacks_busymod
}

refusals()
{
	load_mod livepatch_callbacks_mod
	load_fails ENODEV "${p}livepatch_callbacks_demo" pre_patch_ret=-19
	unload_mod livepatch_callbacks_mod
	load_lp "${p}livepatch_callbacks_demo"
	set_param "${p}livepatch_callbacks_demo" pre_patch_ret -19
	load_fails ENODEV livepatch_callbacks_mod
	disable_lp "${p}livepatch_callbacks_demo"
	unload_mod "${p}livepatch_callbacks_demo"
}

# A dummy comes each second, and goes after twelve; those that are older than a fix go under it.
shadow()
{
	load_mod livepatch_shadow_mod
	sleep 4
	load_lp "${p}livepatch_shadow_fix1"
	sleep 18
	load_lp "${p}livepatch_shadow_fix2"
	sleep 8
	disable_lp "${p}livepatch_shadow_fix2"
	unload_mod "${p}livepatch_shadow_fix2"
	disable_lp "${p}livepatch_shadow_fix1"
	unload_mod "${p}livepatch_shadow_fix1"
	unload_mod livepatch_shadow_mod
}

# Addresses and times differ, and how often a line comes.
shapes()
{
	sed -E 's/(@|=) (0x)?[0-9a-f]+/\1 N/g' | sort -u
}

ktap_case "livepatch-sample" both cat sample livepatch_sample
ktap_case "livepatch-callbacks-demo: targets before and after" both cat callbacks \
	livepatch_callbacks_{demo,mod,busymod}
ktap_case "livepatch-callbacks-demo: refused, and refusing" both cat refusals livepatch_callbacks_{demo,mod}
ktap_case "livepatch-shadow-fix1 and -fix2" both shapes shadow livepatch_shadow_{mod,fix1,fix2}
ktap_finish

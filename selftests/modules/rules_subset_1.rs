// SPDX-License-Identifier: GPL-2.0

//! Callbacks left out: see `subset.rs`.

include!("subset.rs");

subsets! {
    "rules_subset_1":
    [pre_patch post_patch],
    [pre_unpatch],
    [pre_patch pre_unpatch]
}

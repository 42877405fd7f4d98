// SPDX-License-Identifier: GPL-2.0

//! Callbacks left out: see `subset.rs`.

include!("subset.rs");

subsets! {
    "rules_subset_2":
    [post_patch pre_unpatch],
    [pre_patch post_patch pre_unpatch],
    [post_unpatch]
}

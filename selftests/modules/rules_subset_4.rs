// SPDX-License-Identifier: GPL-2.0

//! Callbacks left out: see `subset.rs`.

include!("subset.rs");

subsets! {
    "rules_subset_4":
    [pre_unpatch post_unpatch],
    [pre_patch pre_unpatch post_unpatch],
    [post_patch pre_unpatch post_unpatch]
}

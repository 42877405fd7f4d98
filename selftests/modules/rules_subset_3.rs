// SPDX-License-Identifier: GPL-2.0

//! Callbacks left out: see `subset.rs`.

include!("subset.rs");

subsets! {
    "rules_subset_3":
    [pre_patch post_unpatch],
    [post_patch post_unpatch],
    [pre_patch post_patch post_unpatch]
}

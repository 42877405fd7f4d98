// SPDX-License-Identifier: GPL-2.0

//! Callbacks left out: see `subset.rs`.

include!("subset.rs");

subsets! {
    "rules_subset_0":
    [],
    [pre_patch],
    [post_patch]
}

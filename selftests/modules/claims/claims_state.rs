// SPDX-License-Identifier: GPL-2.0

//! Asks for the state of the patch before this one, for a target that may come at any time.

use core::ops::RangeInclusive;

use kernel::prelude::*;
use klp::{
    Callbacks,
    Object, //
};

klp::livepatch! {
    name: "claims_state",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: whose state a callback finds",
    license: "GPL",
    states: [
        static NUMBER: Number = { id: ID, version: 7 },
    ],
    objects: [
        vmlinux { callbacks: Kernel, },
        "rules_other" { callbacks: Other, },
    ],
}

const ID: usize = 0x636c_6169;

klp::fixed_layout! {
    struct Number(u32);
}

// SAFETY: The only patch with this id is this one.
unsafe impl klp::StateData for Number {
    const ID: usize = ID;
    const VERSIONS: RangeInclusive<u32> = 7..=7;
}

struct Kernel;

#[vtable]
impl Callbacks for Kernel {
    fn pre_patch(obj: &Object) -> Result {
        NUMBER.fill(obj, KBox::new(Number(5), GFP_KERNEL)?);
        pr_info!("pre_patch: {obj}: keeps 5\n");
        Ok(())
    }

    fn post_unpatch(obj: &Object) {
        match NUMBER.take(obj) {
            Some(number) => pr_info!("post_unpatch: {obj}: kept {}\n", number.0),
            None => pr_info!("post_unpatch: {obj}: keeps nothing\n"),
        }
    }
}

struct Other;

#[vtable]
impl Callbacks for Other {
    fn pre_patch(obj: &Object) -> Result {
        let Some(previous) = NUMBER.previous(obj) else {
            pr_info!("pre_patch: {obj}: nothing before\n");
            return Ok(());
        };
        pr_info!("pre_patch: {obj}: version {} before\n", previous.version());
        if let Some(number) = previous.take::<Number>() {
            pr_info!("pre_patch: {obj}: took {}\n", number.0);
        }
        Ok(())
    }
}

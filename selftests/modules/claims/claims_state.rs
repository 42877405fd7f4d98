// SPDX-License-Identifier: GPL-2.0

//! Asks for the state of the patch before this one, for a target that may come at any time.

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
        static NUMBER: u32 = { id: 0x636c_6169, version: 7 },
    ],
    objects: [
        vmlinux { callbacks: Kernel, },
        "rules_other" { callbacks: Other, },
    ],
}

struct Kernel;

#[vtable]
impl Callbacks for Kernel {
    fn pre_patch(obj: &Object) -> Result {
        NUMBER.fill(obj, KBox::new(5_u32, GFP_KERNEL)?);
        pr_info!("pre_patch: {obj}: keeps 5\n");
        Ok(())
    }

    fn post_unpatch(obj: &Object) {
        match NUMBER.take(obj) {
            Some(number) => pr_info!("post_unpatch: {obj}: kept {}\n", *number),
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
        // SAFETY: The only patch with this id is this one, whose state is a `u32`.
        if let Some(number) = unsafe { previous.take::<u32>() } {
            pr_info!("pre_patch: {obj}: took {}\n", *number);
        }
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0

//! A callback that panics. **It is wrong**: nobody survives it who loads or removes a module afterwards.

use kernel::prelude::*;

klp::livepatch! {
    name: "claims_panic",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a callback that panics (wrong)",
    license: "GPL",
    objects: [
        vmlinux { callbacks: Panics, },
    ],
}

struct Panics;

#[vtable]
impl klp::Callbacks for Panics {
    fn pre_patch(obj: &klp::Object) -> Result {
        pr_info!("pre_patch: {obj}: panics\n");
        panic!("in a callback");
    }
}

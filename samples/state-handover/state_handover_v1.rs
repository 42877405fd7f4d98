// SPDX-License-Identifier: GPL-2.0

//! The first of two cumulative livepatches: raises `net.core.rmem_max`.
//!
//! Sockets may ask for buffers up to `net.core.rmem_max` and `net.core.wmem_max`. Both were 212992 bytes for many years,
//! too little for a fast connection over a long way, until the kernel's default became 4 MB. A default takes effect at
//! boot only; on a system that is up a callback must raise the value.
//!
//! This patch forgot the sending side. Its successor is `state_handover.rs`; read that one.

mod limits;

use kernel::prelude::*;

use limits::{
    Original,
    V1, //
};

klp::bindings!();

klp::livepatch! {
    name: "state_handover_v1",
    authors: ["The livepatch cookbook"],
    description: "Raise net.core.rmem_max",
    license: "GPL",
    replace: true,
    states: [
        /// What the limit was before.
        static LIMITS: V1 = { id: limits::STATE, version: 1 },
    ],
    objects: [
        vmlinux { callbacks: BufferLimits, },
    ],
}

struct BufferLimits;

// ANCHOR: callbacks
#[vtable]
impl klp::Callbacks for BufferLimits {
    fn pre_patch(obj: &klp::Object) -> Result {
        LIMITS.fill(obj, KBox::new(Original::default(), GFP_KERNEL)?);
        pr_info!("pre_patch: {obj}\n");
        Ok(())
    }

    fn post_patch(obj: &klp::Object) {
        if let Some(was) = LIMITS.read() {
            was.raise(limits::rmem_max());
            pr_info!("post_patch: {obj}: rmem_max was {}\n", was.get());
        }
    }

    fn pre_unpatch(obj: &klp::Object) {
        if let Some(was) = LIMITS.read() {
            was.give_back(limits::rmem_max());
        }
        pr_info!("pre_unpatch: {obj}: gave back\n");
    }

    fn post_unpatch(obj: &klp::Object) {
        LIMITS.take(obj);
        pr_info!("post_unpatch: {obj}\n");
    }
}
// ANCHOR_END: callbacks

// SPDX-License-Identifier: GPL-2.0

//! Version 2 of samples/state-handover as it is written first. **It is wrong**: it takes what version 1 set for the
//! original value.

#[path = "../../../../samples/state-handover/limits.rs"]
mod limits;

use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

use limits::V2;

klp::bindings!();

klp::livepatch! {
    name: "naive_state_handover",
    authors: ["The livepatch cookbook"],
    description: "Raise net.core.rmem_max and net.core.wmem_max (wrong)",
    license: "GPL",
    replace: true,
    states: [
        /// What the limits were before.
        static LIMITS: V2 = { id: limits::STATE, version: 2 },
    ],
    objects: [
        vmlinux { callbacks: BufferLimits, },
    ],
}

struct BufferLimits;

const NEW: u32 = 4 << 20;

// ANCHOR: naive
#[vtable]
impl klp::Callbacks for BufferLimits {
    fn pre_patch(obj: &klp::Object) -> Result {
        LIMITS.fill(obj, KBox::new(V2::default(), GFP_KERNEL)?);
        Ok(())
    }

    fn post_patch(obj: &klp::Object) {
        let Some(was) = LIMITS.read() else { return };
        was.rmem_max.set(limits::rmem_max().xchg(NEW, Relaxed));
        was.wmem_max.set(limits::wmem_max().xchg(NEW, Relaxed));
        let (rmem, wmem) = (was.rmem_max.get(), was.wmem_max.get());
        pr_info!("post_patch: {obj}: rmem_max was {rmem}, wmem_max was {wmem}\n");
    }

    fn pre_unpatch(obj: &klp::Object) {
        let Some(was) = LIMITS.read() else { return };
        limits::rmem_max().store(was.rmem_max.get(), Relaxed);
        limits::wmem_max().store(was.wmem_max.get(), Relaxed);
        pr_info!("pre_unpatch: {obj}: gave back\n");
    }

    fn post_unpatch(obj: &klp::Object) {
        LIMITS.take(obj);
    }
}
// ANCHOR_END: naive

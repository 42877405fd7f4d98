// SPDX-License-Identifier: GPL-2.0

//! Version 2 of samples/state-handover as it is written first. **It is wrong**: it takes what version 1 set for the
//! original value.

#[path = "../../../../samples/state-handover/limits.rs"]
mod limits;

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

klp::bindings!();

klp::livepatch! {
    name: "naive_state_handover",
    authors: ["The livepatch cookbook"],
    description: "Raise net.core.rmem_max and net.core.wmem_max (wrong)",
    license: "GPL",
    replace: true,
    states: [
        /// What the limits were before.
        static LIMITS: Limits = { id: limits::STATE, version: 2 },
    ],
    objects: [
        vmlinux { callbacks: BufferLimits, },
    ],
}

struct BufferLimits;

const NEW: u32 = 4 << 20;

// ANCHOR: naive
klp::fixed_layout! {
    struct Limits {
        rmem_max: Atomic<u32>,
        wmem_max: Atomic<u32>,
    }
}

#[vtable]
impl klp::Callbacks for BufferLimits {
    fn pre_patch(obj: &klp::Object) -> Result {
        let was = Limits {
            rmem_max: Atomic::new(limits::rmem_max().load(Relaxed)),
            wmem_max: Atomic::new(limits::wmem_max().load(Relaxed)),
        };
        LIMITS.fill(obj, KBox::new(was, GFP_KERNEL)?);
        Ok(())
    }

    fn post_patch(obj: &klp::Object) {
        let Some(was) = LIMITS.read() else { return };
        limits::rmem_max().store(NEW, Relaxed);
        limits::wmem_max().store(NEW, Relaxed);
        let (rmem, wmem) = (was.rmem_max.load(Relaxed), was.wmem_max.load(Relaxed));
        pr_info!("post_patch: {obj}: rmem_max was {rmem}, wmem_max was {wmem}\n");
    }

    fn pre_unpatch(obj: &klp::Object) {
        let Some(was) = LIMITS.read() else { return };
        limits::rmem_max().store(was.rmem_max.load(Relaxed), Relaxed);
        limits::wmem_max().store(was.wmem_max.load(Relaxed), Relaxed);
        pr_info!("pre_unpatch: {obj}: gave back\n");
    }

    fn post_unpatch(obj: &klp::Object) {
        LIMITS.take(obj);
    }
}
// ANCHOR_END: naive

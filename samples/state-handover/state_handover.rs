// SPDX-License-Identifier: GPL-2.0

//! A cumulative livepatch that takes over what its predecessor changed.
//!
//! Version 1 (`state_handover_v1.rs`) raised `net.core.rmem_max` and forgot `net.core.wmem_max`. This is version 2, which
//! raises both, on a system where version 1 is loaded or where it is not. With `replace` one transition swaps the
//! patches, but it runs the callbacks of the new one alone: nobody gives back what version 1 changed. Only version 1
//! knows what the limit was, and what version 2 finds is already 4 MB. If it took that for the original value, the limit
//! would stay raised for ever.
//!
//! So both declare the change as a *system state*: version 2 takes over the data of version 1. The state also makes the
//! core refuse the way back, because version 1 would not give back `wmem_max`.
//!
//! ```text
//! # sysctl net.core.rmem_max=212992 net.core.wmem_max=212992
//! # insmod state_handover_v1.ko
//! # sysctl net.core.rmem_max net.core.wmem_max
//! net.core.rmem_max = 4194304
//! net.core.wmem_max = 212992
//! # insmod state_handover.ko
//! # sysctl net.core.rmem_max net.core.wmem_max
//! net.core.rmem_max = 4194304
//! net.core.wmem_max = 4194304
//! # rmmod state_handover_v1; insmod state_handover_v1.ko
//! insmod: ERROR: could not insert module state_handover_v1.ko: Invalid parameters
//! # echo 0 > /sys/kernel/livepatch/state_handover/enabled
//! # sysctl net.core.rmem_max net.core.wmem_max
//! net.core.rmem_max = 212992
//! net.core.wmem_max = 212992
//! ```

mod limits;

use kernel::prelude::*;

use limits::{
    V1,
    V2, //
};

klp::bindings!();

// ANCHOR: metadata
klp::livepatch! {
    name: "state_handover",
    authors: ["The livepatch cookbook"],
    description: "Raise net.core.rmem_max and net.core.wmem_max",
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
// ANCHOR_END: metadata

struct BufferLimits;

// ANCHOR: callbacks
#[vtable]
impl klp::Callbacks for BufferLimits {
    /// Takes the memory here, where a failure can still refuse the patch, and leaves the predecessor's data alone: the
    /// transition may be reversed, and then the predecessor goes on.
    fn pre_patch(obj: &klp::Object) -> Result {
        LIMITS.fill(obj, KBox::new(V2::default(), GFP_KERNEL)?);
        match LIMITS.previous(obj) {
            Some(old) => pr_info!("pre_patch: {obj}: version {} is here\n", old.version()),
            None => pr_info!("pre_patch: {obj}\n"),
        }
        Ok(())
    }

    /// Every task runs this patch and the predecessor's callbacks never will: its change is ours from here on.
    fn post_patch(obj: &klp::Object) {
        take_over(obj);
        if let Some(was) = LIMITS.read() {
            was.rmem_max.raise(limits::rmem_max());
            was.wmem_max.raise(limits::wmem_max());
            let (rmem, wmem) = (was.rmem_max.get(), was.wmem_max.get());
            pr_info!("post_patch: {obj}: rmem_max was {rmem}, wmem_max was {wmem}\n");
        }
    }

    fn pre_unpatch(obj: &klp::Object) {
        if let Some(was) = LIMITS.read() {
            was.rmem_max.give_back(limits::rmem_max());
            was.wmem_max.give_back(limits::wmem_max());
        }
        pr_info!("pre_unpatch: {obj}: gave back\n");
    }

    fn post_unpatch(obj: &klp::Object) {
        let reversed = LIMITS.previous(obj).is_some();
        LIMITS.take(obj);
        match reversed {
            true => pr_info!("post_unpatch: {obj}: the version before stays in force\n"),
            false => pr_info!("post_unpatch: {obj}\n"),
        }
    }
}
// ANCHOR_END: callbacks

// ANCHOR: take_over
/// Moves the predecessor's knowledge here, in the layout of the version that it has.
fn take_over(obj: &klp::Object) {
    let Some(old) = LIMITS.previous(obj) else {
        return;
    };
    let version = old.version();
    match version {
        1 => {
            // SAFETY: Version 1 of this state keeps a `V1`, uses it in its callbacks only, and leaves it to us.
            if let (Some(was), Some(ours)) = (unsafe { old.take::<V1>() }, LIMITS.read()) {
                ours.rmem_max.set(was.get());
            }
        }
        _ => {
            // SAFETY: Version 2 is this very code; the core admits none above.
            if let Some(was) = unsafe { old.take::<V2>() } {
                LIMITS.fill(obj, was);
            }
        }
    }
    pr_info!("post_patch: {obj}: took over from version {version}\n");
}
// ANCHOR_END: take_over

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
    // Takes the place of every livepatch that is loaded: it has in it what they fix.
    replace: true,
    states: [
        /// What the limits were before.
        static LIMITS: V2 = { id: limits::STATE, version: 2 },
    ],
    objects: [
        vmlinux { change: LIMITS, },
    ],
}
// ANCHOR_END: metadata

// ANCHOR: change
impl klp::SystemChange for V2 {
    fn save(before: Option<u32>) -> impl PinInit<Self, Error> {
        match before {
            Some(version) => pr_info!("pre_patch: vmlinux: version {version} is here\n"),
            None => pr_info!("pre_patch: vmlinux\n"),
        }
        Ok(Self::default())
    }

    /// Version 1 knows what `rmem_max` was, and nothing of `wmem_max`.
    fn take_over(&self, before: &klp::PreviousState<'_>) {
        if let Some(v1) = before.take::<V1>() {
            self.rmem_max.take_over(&v1.rmem_max);
        }
        let version = before.version();
        pr_info!("post_patch: vmlinux: took over from version {version}\n");
    }

    fn apply(&self) {
        limits::raise(&self.rmem_max, limits::rmem_max());
        limits::raise(&self.wmem_max, limits::wmem_max());
        let [rmem, wmem] = [&self.rmem_max, &self.wmem_max].map(|saved| saved.old().unwrap_or(0));
        pr_info!("post_patch: vmlinux: rmem_max was {rmem}, wmem_max was {wmem}\n");
    }

    fn revert(&self) {
        self.rmem_max.give_back(limits::rmem_max());
        self.wmem_max.give_back(limits::wmem_max());
        pr_info!("pre_unpatch: vmlinux: gave back\n");
    }

    fn done(before: Option<u32>) {
        match before {
            Some(_) => pr_info!("post_unpatch: vmlinux: the version before stays in force\n"),
            None => pr_info!("post_unpatch: vmlinux\n"),
        }
    }
}
// ANCHOR_END: change

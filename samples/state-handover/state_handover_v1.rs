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

use limits::V1;

klp::bindings!();

klp::livepatch! {
    name: "state_handover_v1",
    authors: ["The livepatch cookbook"],
    description: "Raise net.core.rmem_max",
    license: "GPL",
    // Takes the place of every livepatch that is loaded: it has in it what they fix.
    replace: true,
    states: [
        /// What the limit was before.
        static LIMITS: V1 = { id: limits::STATE, version: 1 },
    ],
    objects: [
        vmlinux { change: LIMITS, },
    ],
}

// ANCHOR: change
impl klp::SystemChange for V1 {
    fn save(_before: Option<u32>) -> impl PinInit<Self, Error> {
        pr_info!("pre_patch: vmlinux\n");
        Ok(Self::default())
    }

    fn apply(&self) {
        limits::raise(&self.rmem_max, limits::rmem_max());
        let rmem = self.rmem_max.old().unwrap_or(0);
        pr_info!("post_patch: vmlinux: rmem_max was {rmem}\n");
    }

    fn revert(&self) {
        self.rmem_max.give_back(limits::rmem_max());
        pr_info!("pre_unpatch: vmlinux: gave back\n");
    }

    fn done(_before: Option<u32>) {
        pr_info!("post_unpatch: vmlinux\n");
    }
}
// ANCHOR_END: change

// SPDX-License-Identifier: GPL-2.0

//! Saying no: a pre-patch callback that looks first, and refuses when the change is not safe.
//!
//! Commit 5f74f82ea34c ("net:Add sysctl_max_skb_frags") is a work-around for devices that lose packets which are spread over
//! many fragments: it made the most that the stack uses a sysctl. This patch is the same for a system that is up. It takes
//! `net.core.max_skb_frags` down to 8 while it is enabled, and makes sure that no driver of the affected kind (`veth` and
//! `dummy` stand for them) comes up under a higher limit. So
//!
//! - `vmlinux` is refused with `ERANGE` when the limit is already lower than that: somebody works around something stricter,
//!   and "down to 8" would loosen it;
//! - a driver is refused with `EBUSY` while the limit is above 8: somebody has raised it again since, and uses it.
//!
//! A refusal has two faces. While the livepatch loads, the whole livepatch is refused, and the objects that came before are
//! given back by post_unpatch alone. While a driver loads, the driver is refused and the livepatch stays as it is:
//!
//! ```text
//! # sysctl -w net.core.max_skb_frags=4; insmod failing_pre_patch.ko
//! insmod: ERROR: could not insert module failing_pre_patch.ko: Numerical result out of range
//! # sysctl -w net.core.max_skb_frags=17; insmod failing_pre_patch.ko
//! # sysctl -w net.core.max_skb_frags=17; modprobe dummy
//! modprobe: ERROR: could not insert 'dummy': Device or resource busy
//! ```

mod frags;

use kernel::prelude::*;

klp::bindings!();

/// Packets of this many fragments are safe.
const SAFE: i32 = 8;

// ANCHOR: metadata
klp::livepatch! {
    name: "failing_pre_patch",
    authors: ["The livepatch cookbook"],
    description: "Refuse the livepatch, or a target, when the change is not safe",
    license: "GPL",
    states: [
        /// A cumulative patch that does not know of the lowered limit ("frag") is refused: nobody would give it back.
        static LOWERED: () = { id: 0x6672_6167, version: 1 },
    ],
    objects: [
        vmlinux { stateful: Limit, },
        "veth" { callbacks: Driver, },
        "dummy" { callbacks: Driver, },
    ],
}
// ANCHOR_END: metadata

// ANCHOR: limit
/// Lowers the limit, and remembers what it was.
struct Limit;

#[vtable]
impl klp::StatefulCallbacks for Limit {
    type State = klp::Saved<i32>;

    /// Nothing that is changed here outlives an error: what can fail comes first.
    fn pre_patch(obj: &klp::Object) -> impl PinInit<klp::Saved<i32>, Error> {
        let old = frags::now();
        if old < SAFE {
            pr_info!("pre_patch: {obj}: refused, the limit is {old} and stricter than {SAFE}\n");
            return Err(ERANGE);
        }
        let saved = Self::State::default();
        // A sysctl takes no lock of ours: who writes it at this very moment has to be asked again.
        // FIX: the stack spreads no packet over more fragments than the device takes.
        if !saved.change(frags::limit(), old, SAFE) {
            return Err(EAGAIN);
        }
        pr_info!("pre_patch: {obj}: limit {old} -> {SAFE}\n");
        Ok(saved)
    }

    /// Runs also when a later object has said no.
    fn post_unpatch(obj: &klp::Object, saved: Pin<KBox<klp::Saved<i32>>>) {
        match saved.give_back(frags::limit()) {
            Some(old) => pr_info!("post_unpatch: {obj}: limit {SAFE} -> {old}\n"),
            None => pr_info!(
                "post_unpatch: {obj}: limit left at {}, not ours\n",
                frags::now()
            ),
        }
    }
}
// ANCHOR_END: limit

// ANCHOR: driver
/// Lets a driver in only while the limit is safe for it.
struct Driver;

#[vtable]
impl klp::Callbacks for Driver {
    fn pre_patch(obj: &klp::Object) -> Result {
        let now = frags::now();
        if now > SAFE {
            pr_info!("pre_patch: {obj}: refused, the limit is {now} and above {SAFE}\n");
            return Err(EBUSY);
        }
        pr_info!("pre_patch: {obj}\n");
        Ok(())
    }
}
// ANCHOR_END: driver

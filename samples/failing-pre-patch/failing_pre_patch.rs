// SPDX-License-Identifier: GPL-2.0

//! Saying no: a pre-patch callback that looks first, and refuses when the change is not safe.
//!
//! The patch re-enacts a work-around that was needed more than once: some device, or the host behind a virtual one, loses
//! packets that are spread over many fragments. It takes `net.core.max_skb_frags` down to 8 while it is enabled, and makes
//! sure that no driver of the affected kind (`veth` and `dummy` stand for them) comes up under a higher limit. So
//!
//! - `vmlinux` is refused with `ERANGE` when the limit is already lower than that: somebody works around something stricter,
//!   and "down to 8" would loosen it;
//! - a driver is refused with `EBUSY` while the limit is above 8: somebody has raised it again since, and uses it;
//! - any of them is refused on demand, with the errno in `vmlinux_errno`, `veth_errno`, `dummy_errno`.
//!
//! A refusal has two faces. While the livepatch loads, the whole livepatch is refused, and the objects that came before are
//! given back by post_unpatch alone. While a driver loads, the driver is refused and the livepatch stays as it is:
//!
//! ```text
//! # sysctl -w net.core.max_skb_frags=4; insmod failing_pre_patch.ko
//! insmod: ERROR: could not insert module failing_pre_patch.ko: Numerical result out of range
//! # sysctl -w net.core.max_skb_frags=17; insmod failing_pre_patch.ko
//! # echo 19 > /sys/module/failing_pre_patch/parameters/dummy_errno; modprobe dummy
//! modprobe: ERROR: could not insert 'dummy': No such device
//! ```
//!
//! An errno of 17 (`EEXIST`) reaches the user as `EBUSY` when it refuses the livepatch: the module loader keeps `EEXIST`
//! for itself.

use kernel::prelude::*;
use klp::{
    Callbacks,
    Object,
    StatefulCallbacks, //
};

mod frags;

klp::bindings!();

/// Packets of this many fragments are safe.
const SAFE: i32 = 8;

klp::param! {
    static VMLINUX_ERRNO("vmlinux_errno"): u32 in 0..=4095 = 0, 0o644, "refuse to patch vmlinux with this errno (0: do not)"
}
klp::param! {
    static VETH_ERRNO("veth_errno"): u32 in 0..=4095 = 0, 0o644, "refuse to patch veth with this errno (0: do not)"
}
klp::param! {
    static DUMMY_ERRNO("dummy_errno"): u32 in 0..=4095 = 0, 0o644, "refuse to patch dummy with this errno (0: do not)"
}

// ANCHOR: metadata
klp::livepatch! {
    type: FailingPrePatch,
    name: "failing_pre_patch",
    authors: ["The livepatch cookbook"],
    description: "Refuse the livepatch, or a target, when the change is not safe",
    license: "GPL",
    objects: [
        vmlinux { stateful: Limit, },
        "veth" { callbacks: Driver, },
        "dummy" { callbacks: Driver, },
    ],
}
// ANCHOR_END: metadata

struct FailingPrePatch;

impl klp::Livepatch for FailingPrePatch {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

// ANCHOR: forced
/// The refusal that the user asks for. The parameters may be rewritten at any time, so each is read once.
fn forced(obj: &Object) -> Result {
    let errno = match obj.name().to_bytes() {
        b"veth" => VETH_ERRNO.get(),
        b"dummy" => DUMMY_ERRNO.get(),
        _ => VMLINUX_ERRNO.get(),
    };
    match errno.value() {
        0 => Ok(()),
        errno => {
            pr_info!("pre_patch: {obj}: refused with errno {errno} on demand\n");
            Err(Error::from_errno(-(errno as i32)))
        }
    }
}
// ANCHOR_END: forced

// ANCHOR: limit
/// Lowers the limit, and remembers what it was.
struct Limit;

#[vtable]
impl StatefulCallbacks for Limit {
    type State = i32;

    /// Nothing that is changed here outlives an error: what can fail comes first.
    fn pre_patch(obj: &Object) -> impl PinInit<i32, Error> {
        forced(obj)?;
        let old = frags::limit();
        if old < SAFE {
            pr_info!("pre_patch: {obj}: refused, the limit is {old} and stricter than {SAFE}\n");
            return Err(ERANGE);
        }
        // A sysctl takes no lock of ours: who writes it at this very moment has to be asked again.
        if !frags::change(old, SAFE) {
            return Err(EAGAIN);
        }
        pr_info!("pre_patch: {obj}: limit {old} -> {SAFE}\n");
        Ok(old)
    }

    fn post_patch(obj: &Object, _old: Pin<&i32>) {
        pr_info!("post_patch: {obj}\n");
    }

    fn pre_unpatch(obj: &Object, _old: Pin<&i32>) {
        pr_info!("pre_unpatch: {obj}\n");
    }

    /// Runs alone, without the two before it, when a later object has said no.
    fn post_unpatch(obj: &Object, old: Pin<KBox<i32>>) {
        if frags::change(SAFE, *old) {
            pr_info!("post_unpatch: {obj}: limit {SAFE} -> {old}\n", old = *old);
        } else {
            pr_info!(
                "post_unpatch: {obj}: limit left at {}, not ours\n",
                frags::limit()
            );
        }
    }
}
// ANCHOR_END: limit

// ANCHOR: driver
/// Lets a driver in only while the limit is safe for it.
struct Driver;

#[vtable]
impl Callbacks for Driver {
    fn pre_patch(obj: &Object) -> Result {
        forced(obj)?;
        let now = frags::limit();
        if now > SAFE {
            pr_info!("pre_patch: {obj}: refused, the limit is {now} and above {SAFE}\n");
            return Err(EBUSY);
        }
        pr_info!("pre_patch: {obj}\n");
        Ok(())
    }

    fn post_patch(obj: &Object) {
        pr_info!("post_patch: {obj}\n");
    }

    fn pre_unpatch(obj: &Object) {
        pr_info!("pre_unpatch: {obj}\n");
    }

    fn post_unpatch(obj: &Object) {
        pr_info!("post_unpatch: {obj}\n");
    }
}
// ANCHOR_END: driver

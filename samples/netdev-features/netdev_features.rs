// SPDX-License-Identifier: GPL-2.0

//! A livepatch for a probe that has already run: it takes a feature from every `virtio_net` device.
//!
//! Commit 48900cb6af42 ("virtio-net: drop NETIF_F_FRAGLIST") took a feature out of the driver's probe, because frames
//! that used it overran a table. Replacing the probe mends the next device only: those that are there have been told
//! what they can do, and the network stack goes by that. So callbacks take the feature from each device, whatever its
//! namespace, and from each that appears while the patch is enabled; afterwards each gets back what it lost.
//! The feature is a parameter here, for QEMU's devices do not offer the one of that commit.
//!
//! ```text
//! # insmod netdev_features.ko feature=rx-gro
//! # ethtool -k eth0 | grep generic-receive
//! generic-receive-offload: off [fixed]
//! # ethtool -K eth0 gro on
//! Could not change any device features
//! # echo 0 > /sys/kernel/livepatch/netdev_features/enabled
//! # ethtool -k eth0 | grep generic-receive
//! generic-receive-offload: on
//! ```
//!
//! Locks: a callback runs under `klp_mutex`, and RTNL must not be waited for there. The network stack loads modules under
//! RTNL, and a module that loads waits for `klp_mutex`: each would wait for the other. So the notifier is registered before
//! the patch is enabled, the callbacks flip a flag, and a work item does what needs RTNL.

mod net;

use kernel::{
    prelude::*,
    sync::global_lock, //
};

use net::{
    Feature,
    Watching, //
};

klp::bindings!();

// ANCHOR: metadata
klp::livepatch! {
    type: NetdevFeatures,
    name: "netdev_features",
    authors: ["The livepatch cookbook"],
    description: "Take a feature from every virtio_net device",
    license: "GPL",
    states: [
        /// A cumulative patch that does not know of the feature ("feat") is refused: nobody would give it back.
        static TAKEN: () = { id: 0x6665_6174, version: 1 },
    ],
    objects: [
        "virtio_net" { callbacks: NetdevFeatures, },
    ],
}

klp::param! {
    static FEATURE("feature"): Feature = Feature::GRO, 0o444,
    "the feature to take away, as ethtool -K knows it (rx-gro)"
}
// ANCHOR_END: metadata

global_lock! {
    /// The watch, from the module's init to its exit.
    // SAFETY: The module's init initializes it, before the patch is enabled.
    unsafe(uninit) static WATCHING: Mutex<Option<Watching>> = None;
}

struct NetdevFeatures;

// ANCHOR: init
impl klp::Livepatch for NetdevFeatures {
    /// What waits for RTNL, and what can fail: `klp_mutex` is not held yet.
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: The module's init runs once.
        unsafe { WATCHING.init() };
        let watching = Watching::begin(c"virtio_net", FEATURE.get())?;
        *WATCHING.lock() = Some(watching);
        Ok(Self)
    }
}

impl Drop for NetdevFeatures {
    /// At the module's exit, where `klp_mutex` is not held either.
    fn drop(&mut self) {
        let watching = WATCHING.lock().take();
        // Waits for RTNL and for the work, but not with the lock above held, which callbacks take.
        drop(watching);
    }
}
// ANCHOR_END: init

// ANCHOR: callbacks
/// A pair that the core keeps in step in every order: where `post_patch` did not run there is nothing to give back, and
/// after an unpatching that is reversed it runs again.
#[vtable]
impl klp::Callbacks for NetdevFeatures {
    fn post_patch(obj: &klp::Object) {
        pr_info!("post_patch: {obj}: {} goes off\n", FEATURE.get());
        forbid(true); // FIX: what the probe of each device has offered, and of each to come
    }

    fn pre_unpatch(obj: &klp::Object) {
        pr_info!("pre_unpatch: {obj}: {} comes back\n", FEATURE.get());
        forbid(false);
    }
}

fn forbid(forbidden: bool) {
    if let Some(watching) = &*WATCHING.lock() {
        watching.forbid(forbidden);
    }
}
// ANCHOR_END: callbacks

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
//! Locks: the core calls the callbacks with `klp_mutex` held, and they take RTNL inside it. The other way round would be
//! a deadlock, and nobody goes it: what takes `klp_mutex` is a module that comes or goes and a write to
//! `/sys/kernel/livepatch`, and neither may be waited for under RTNL, as most drivers' own init takes it.

mod net;
mod watch;

use kernel::{
    new_mutex,
    prelude::*,
    str::CStr,
    sync::Mutex, //
};

use net::{
    DeviceId,
    Feature,
    NetDevice,
    Setting, //
};
use watch::{
    Watch,
    Watcher, //
};

klp::bindings!();

// ANCHOR: metadata
klp::livepatch! {
    type: NetdevFeatures,
    name: "netdev_features",
    authors: ["The livepatch cookbook"],
    description: "Take a feature from every virtio_net device",
    license: "GPL",
    objects: [
        "virtio_net" { stateful: NetdevFeatures, },
    ],
}

klp::param! {
    static FEATURE("feature"): Feature = Feature::GRO, 0o444,
    "the feature to take away, as ethtool -K knows it (rx-gro)"
}
// ANCHOR_END: metadata

const DRIVER: &CStr = c"virtio_net";

struct NetdevFeatures;

impl klp::Livepatch for NetdevFeatures {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

// ANCHOR: callbacks
#[vtable]
impl klp::StatefulCallbacks for NetdevFeatures {
    type State = Watch<Taken>;

    /// When the driver is loaded after the patch, this runs before its probe: no device is there yet, and the watch
    /// tells of each as it appears.
    fn pre_patch(obj: &klp::Object) -> impl PinInit<Watch<Taken>, Error> {
        let feature = FEATURE.get();
        pr_info!("pre_patch: {obj}: {feature} goes off\n");
        Watch::new(pin_init!(Taken {
            feature,
            devices <- new_mutex!(KVec::new()),
        }))
    }

    /// When the driver is unloaded, this runs after its exit: no device is left.
    fn post_unpatch(obj: &klp::Object, watch: Pin<KBox<Watch<Taken>>>) {
        watch.end();
        pr_info!("post_unpatch: {obj}: every device has its own setting again\n");
    }
}
// ANCHOR_END: callbacks

// ANCHOR: watcher
/// What each device lost. A device that had nothing to lose is not in the list.
#[pin_data]
struct Taken {
    feature: Feature,
    #[pin]
    devices: Mutex<KVec<(DeviceId, Setting)>>,
}

impl Watcher for Taken {
    fn joins(&self, dev: &NetDevice) -> Result {
        let mut devices = self.devices.lock();
        let known = devices.iter().any(|(id, _)| *id == dev.id());
        if known || !dev.is_of(DRIVER) || dev.setting(self.feature) == Setting::OFF_FIXED {
            return Ok(());
        }
        // What can fail comes first: what was taken but not noted would be lost.
        devices.reserve(1, GFP_KERNEL)?;
        let before = dev.take(self.feature)?;
        devices.push((dev.id(), before), GFP_KERNEL)?;
        pr_info!("{dev}: {} taken, was {before}\n", self.feature);
        Ok(())
    }

    fn leaves(&self, dev: &NetDevice) {
        let mut devices = self.devices.lock();
        let taken = devices.iter().position(|(id, _)| *id == dev.id());
        let Some(Ok((_, before))) = taken.map(|i| devices.remove(i)) else {
            return;
        };
        if dev.is_dying() {
            pr_info!("{dev}: forgotten\n");
        } else {
            dev.give(self.feature, before);
            pr_info!("{dev}: {} given back, is {before}\n", self.feature);
        }
    }
}
// ANCHOR_END: watcher

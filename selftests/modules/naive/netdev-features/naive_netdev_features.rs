// SPDX-License-Identifier: GPL-2.0

//! The patch of samples/netdev-features as it is written first. **It is wrong**: it knows the devices of one namespace at
//! one moment, and the feature that it takes from them stays on.

#[path = "../../../../samples/netdev-features/net.rs"]
#[expect(dead_code, reason = "the patch does by hand what it does wrong")]
mod net;

use kernel::prelude::*;

use net::NetDevice;

klp::bindings!();

klp::livepatch! {
    name: "naive_netdev_features",
    authors: ["The livepatch cookbook"],
    description: "Take rx-gro from virtio_net devices (wrong)",
    license: "GPL",
    objects: [
        "virtio_net" { callbacks: NaiveFeatures, },
    ],
}

struct NaiveFeatures;

/// Calls `f` with each `virtio_net` device of the first namespace and tells how many there are.
fn for_each_device(f: impl Fn(&mut bindings::net_device)) -> usize {
    // SAFETY: The first namespace is a static of the kernel.
    let head = unsafe { &raw mut bindings::init_net.dev_base_head };
    let mut count = 0;
    // SAFETY: Process context, without RTNL.
    unsafe { bindings::rtnl_lock() };
    // SAFETY: RTNL guards the list, whose head and links are valid.
    let next = |link: *mut kernel::bindings::list_head| unsafe { (*link).next };
    let mut link = next(head);
    while link != head {
        // SAFETY: Every link but the head is the field `dev_list` of a device.
        let dev = unsafe { kernel::container_of!(link, bindings::net_device, dev_list) };
        // SAFETY: The device stays while RTNL is held; only its driver is looked at.
        if unsafe { NetDevice::from_raw(dev) }.is_of(c"virtio_net") {
            // SAFETY: As above; RTNL guards the fields that `f` is interested in.
            f(unsafe { &mut *dev });
            count += 1;
        }
        link = next(link);
    }
    // SAFETY: Locked above.
    unsafe { bindings::rtnl_unlock() };
    count
}

// ANCHOR: naive
const GRO: u64 = 1 << bindings::NETIF_F_GRO_BIT;

#[vtable]
impl klp::Callbacks for NaiveFeatures {
    fn pre_patch(obj: &klp::Object) -> Result {
        // The devices of `init_net` whose driver is `virtio_net`, under RTNL.
        let count = for_each_device(|dev| {
            dev.hw_features &= !GRO;
            dev.wanted_features &= !GRO;
            // SAFETY: RTNL is held.
            unsafe { bindings::netdev_update_features(dev) };
        });
        pr_info!("pre_patch: {obj}: rx-gro taken from {count} devices\n");
        Ok(())
    }

    fn post_unpatch(obj: &klp::Object) {
        let count = for_each_device(|dev| {
            dev.hw_features |= GRO;
            dev.wanted_features |= GRO;
            // SAFETY: RTNL is held.
            unsafe { bindings::netdev_update_features(dev) };
        });
        pr_info!("post_unpatch: {obj}: rx-gro given back to {count} devices\n");
    }
}
// ANCHOR_END: naive

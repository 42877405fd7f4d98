// SPDX-License-Identifier: GPL-2.0

//! The patch of samples/netdev-features with the same parts in another place: the callbacks themselves begin and end the
//! watch. **It is wrong**: they wait for RTNL with `klp_mutex` held, and others wait for `klp_mutex` with RTNL held.

#[path = "../../../../samples/netdev-features/net.rs"]
mod net;

use kernel::prelude::*;

use net::{
    Feature,
    Watching, //
};

klp::bindings!();

klp::livepatch! {
    name: "naive_netdev_features_lock",
    authors: ["The livepatch cookbook"],
    description: "Take rx-gro from every virtio_net device (wrong: locks up)",
    license: "GPL",
    objects: [
        "virtio_net" { stateful: NaiveFeatures, },
    ],
}

struct NaiveFeatures;

// ANCHOR: naive
#[vtable]
impl klp::StatefulCallbacks for NaiveFeatures {
    type State = Watching;

    fn pre_patch(obj: &klp::Object) -> impl PinInit<Watching, Error> {
        pr_info!("pre_patch: {obj}: rx-gro goes off\n");
        // Process context, and it may sleep. Registers a notifier, which takes RTNL.
        let watching = Watching::begin(c"virtio_net", Feature::GRO)?;
        watching.forbid(true);
        Ok(watching)
    }

    fn post_unpatch(obj: &klp::Object, watching: Pin<KBox<Watching>>) {
        watching.forbid(false);
        drop(watching);
        pr_info!("post_unpatch: {obj}: every device has its own setting again\n");
    }
}
// ANCHOR_END: naive

// SPDX-License-Identifier: GPL-2.0

//! The patch of samples/sysctl-update as it is written first. **It is wrong**: it knows one namespace, overwrites
//! whatever is there, and gives back a constant.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

klp::bindings!();

klp::livepatch! {
    name: "naive_sysctl_update",
    authors: ["The livepatch cookbook"],
    description: "Raise tcp_challenge_ack_limit (wrong)",
    license: "GPL",
    objects: [
        vmlinux { callbacks: NaiveLimit, },
    ],
}

struct NaiveLimit;

// ANCHOR: naive
fn limit() -> &'static Atomic<i32> {
    // SAFETY: The first namespace never goes away, and all access the field by single, marked accesses.
    unsafe { Atomic::from_ptr(&raw mut bindings::init_net.ipv4.sysctl_tcp_challenge_ack_limit) }
}

#[vtable]
impl klp::Callbacks for NaiveLimit {
    fn pre_patch(obj: &klp::Object) -> Result {
        pr_info!("pre_patch: {obj}: limit is 1000\n");
        limit().store(1000, Relaxed);
        Ok(())
    }

    fn post_unpatch(obj: &klp::Object) {
        pr_info!("post_unpatch: {obj}: limit is 100\n");
        limit().store(100, Relaxed);
    }
}
// ANCHOR_END: naive

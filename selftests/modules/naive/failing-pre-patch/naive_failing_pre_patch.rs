// SPDX-License-Identifier: GPL-2.0

//! The patch of samples/failing-pre-patch as it is written first. **It is wrong**: it changes, then checks, and a refusal
//! leaves the change behind.

use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

#[path = "../../../../samples/failing-pre-patch/frags.rs"]
#[expect(dead_code, reason = "who changes first need not ask")]
mod frags;

klp::bindings!();

const SAFE: i32 = 8;

klp::livepatch! {
    name: "naive_failing_pre_patch",
    authors: ["The livepatch cookbook"],
    description: "Lower max_skb_frags, or refuse to (wrong)",
    license: "GPL",
    objects: [
        vmlinux { stateful: NaiveLimit, },
    ],
}

struct NaiveLimit;

// ANCHOR: naive
#[vtable]
impl klp::StatefulCallbacks for NaiveLimit {
    type State = i32;

    fn pre_patch(obj: &klp::Object) -> impl PinInit<i32, Error> {
        let old = frags::limit().xchg(SAFE, Relaxed);
        pr_info!("pre_patch: {obj}: limit {old} -> {SAFE}\n");
        if old < SAFE {
            pr_info!("pre_patch: {obj}: refused, the limit was stricter\n");
            return Err(ERANGE);
        }
        Ok(old)
    }

    fn post_unpatch(obj: &klp::Object, old: Pin<KBox<i32>>) {
        pr_info!("post_unpatch: {obj}: limit {SAFE} -> {old}\n", old = *old);
        frags::limit().store(*old, Relaxed);
    }
}
// ANCHOR_END: naive

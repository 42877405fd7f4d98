// SPDX-License-Identifier: GPL-2.0

//! Logs its callbacks for the kernel, and with `replace=1` takes the place of the other livepatches.

mod callback_log;

use kernel::prelude::*;

klp::param! {
    static REPLACE("replace"): i32 = 0, 0o644, "not 0: take the place of all livepatches that are enabled (default=0)"
}

klp::livepatch! {
    name: "test_klp_callbacks_demo2",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: callbacks and atomic replace",
    license: "GPL",
    replace: REPLACE.get() != 0,
    objects: [
        vmlinux { callbacks: Demo, },
    ],
}

struct Demo;

#[vtable]
impl klp::Callbacks for Demo {
    fn pre_patch(obj: &klp::Object) -> Result {
        callback_log::log("pre_patch_callback", obj);
        Ok(())
    }

    fn post_patch(obj: &klp::Object) {
        callback_log::log("post_patch_callback", obj);
    }

    fn pre_unpatch(obj: &klp::Object) {
        callback_log::log("pre_unpatch_callback", obj);
    }

    fn post_unpatch(obj: &klp::Object) {
        callback_log::log("post_unpatch_callback", obj);
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Logs its callbacks for the kernel and for two of its drivers, as kpatch's integration test `macro-callbacks` does.

mod callback_log;

use kernel::prelude::*;

klp::param! {
    static FAIL("fail"): enum Fail {
        None = "none",
        Vmlinux = "vmlinux",
        Dummy = "dummy",
        Veth = "veth",
    } = Fail::None, 0o644, "the object whose pre-patch callback returns -ENODEV"
}

klp::livepatch! {
    name: "test_klp_macro_callbacks",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: the callbacks of kpatch's macro-callbacks",
    license: "GPL",
    objects: [
        "dummy" { callbacks: Macro, },
        "veth" { callbacks: Macro, },
        vmlinux { callbacks: Macro, },
    ],
}

struct Macro;

#[vtable]
impl klp::Callbacks for Macro {
    fn pre_patch(obj: &klp::Object) -> Result {
        callback_log::log("pre_patch_callback", obj);
        let fails = match FAIL.get() {
            Fail::None => return Ok(()),
            Fail::Vmlinux => c"vmlinux",
            Fail::Dummy => c"dummy",
            Fail::Veth => c"veth",
        };
        if obj.name() == fails {
            return Err(ENODEV);
        }
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

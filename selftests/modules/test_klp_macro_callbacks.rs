// SPDX-License-Identifier: GPL-2.0

//! Logs its callbacks for the kernel and for two of its drivers, as kpatch's integration test `macro-callbacks` does.

mod callback_demo;

use callback_demo::Demo;
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
        "dummy" { callbacks: Demo, },
        "veth" { callbacks: Demo, },
        vmlinux { callbacks: Demo, },
    ],
}

fn pre_patch(obj: &klp::Object) -> Result {
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

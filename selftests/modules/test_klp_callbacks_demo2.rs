// SPDX-License-Identifier: GPL-2.0

//! Logs its callbacks for the kernel, and with `replace=1` takes the place of the other livepatches.

mod callback_demo;

use callback_demo::Demo;
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

fn pre_patch(_obj: &klp::Object) -> Result {
    Ok(())
}

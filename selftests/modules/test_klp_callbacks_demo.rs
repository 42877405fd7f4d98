// SPDX-License-Identifier: GPL-2.0

//! Logs its callbacks for the kernel, for a module, and for a module with a function that may be busy.

mod callback_demo;

use callback_demo::Demo;
use kernel::{
    bindings::work_struct,
    prelude::*, //
};

klp::param! {
    static PRE_PATCH_RET("pre_patch_ret"): i32 = 0, 0o644, "what the pre-patch callbacks return (default=0)"
}

klp::livepatch! {
    name: "test_klp_callbacks_demo",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: callbacks of three objects",
    license: "GPL",
    objects: [
        vmlinux { callbacks: Demo, },
        "test_klp_callbacks_mod" { callbacks: Demo, },
        "test_klp_callbacks_busy" {
            callbacks: Demo,
            functions: [
                // SAFETY: The declaration is that of every work function; nobody relies on what this one does.
                unsafe fn busymod_work_func(*mut work_struct) = patched_work_func,
            ],
        },
    ],
}

fn pre_patch(_obj: &klp::Object) -> Result {
    kernel::error::to_result(PRE_PATCH_RET.get())
}

unsafe extern "C" fn patched_work_func(_work: *mut work_struct) {
    pr_info!("patched_work_func\n");
}

// SPDX-License-Identifier: GPL-2.0

//! The kernel's `livepatch-callbacks-demo.c`: callbacks of the kernel, of a module, and of one with a function that may be busy.

#[path = "../callback_demo.rs"]
mod callback_demo;

use callback_demo::Demo;
use kernel::{
    bindings::work_struct,
    prelude::*, //
};

klp::param! {
    static PRE_PATCH_RET("pre_patch_ret"): i32 = 0, 0o644, "pre_patch_ret (default=0)"
}

klp::livepatch! {
    name: "livepatch_callbacks_demo",
    authors: ["The livepatch cookbook"],
    description: "Live patching demo for (un)patching callbacks, in Rust",
    license: "GPL",
    objects: [
        vmlinux { callbacks: Demo, },
        "livepatch_callbacks_mod" { callbacks: Demo, },
        "livepatch_callbacks_busymod" {
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

/// Replaces `busymod_work_func()`.
///
/// # Safety
///
/// None: the type of the original asks for the word.
unsafe extern "C" fn patched_work_func(_work: *mut work_struct) {
    pr_info!("patched_work_func\n");
}

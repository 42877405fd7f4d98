// SPDX-License-Identifier: GPL-2.0

//! Replaces a function that ftrace does not reach, and tells which callbacks run all the same.

use kernel::{
    ffi::c_int,
    prelude::*, //
};

klp::livepatch! {
    name: "trouble_notrace",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a function without __fentry__",
    license: "GPL",
    objects: [
        "trouble_target" {
            callbacks: Untraced,
            functions: [
                // SAFETY: The declaration is that of trouble_functions.c; any number is as good as another to its caller.
                unsafe fn trouble_notrace() -> c_int = answer,
            ],
        },
    ],
}

struct Untraced;

#[vtable]
impl klp::Callbacks for Untraced {
    fn pre_patch(obj: &klp::Object) -> Result {
        pr_info!("pre_patch: {obj}\n");
        Ok(())
    }

    fn post_patch(obj: &klp::Object) {
        pr_info!("post_patch: {obj}\n");
    }

    fn pre_unpatch(obj: &klp::Object) {
        pr_info!("pre_unpatch: {obj}\n");
    }

    fn post_unpatch(obj: &klp::Object) {
        pr_info!("post_unpatch: {obj}\n");
    }
}

unsafe extern "C" fn answer() -> c_int {
    42
}

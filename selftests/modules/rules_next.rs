// SPDX-License-Identifier: GPL-2.0

//! The cumulative successor of any livepatch: replaces it, and says which callbacks run.

use kernel::{
    ffi::c_int,
    prelude::*, //
};
use klp::{
    Callbacks,
    Object, //
};

klp::livepatch! {
    name: "rules_next",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a cumulative successor",
    license: "GPL",
    replace: true,
    objects: [
        vmlinux { callbacks: Next, },
        "rules_target" {
            callbacks: Next,
            functions: [
                // SAFETY: The declaration is that of rules_target.c; a positive answer is as good as 0 to its caller.
                unsafe fn rules_target_enter(unsafe extern "C" fn() -> c_int) -> c_int = enter,
            ],
        },
    ],
}

struct Next;

#[vtable]
impl Callbacks for Next {
    fn pre_patch(obj: &Object) -> Result {
        pr_info!("pre_patch: {obj}\n");
        Ok(())
    }

    fn post_patch(obj: &Object) {
        pr_info!("post_patch: {obj}\n");
    }

    fn pre_unpatch(obj: &Object) {
        pr_info!("pre_unpatch: {obj}\n");
    }

    fn post_unpatch(obj: &Object) {
        pr_info!("post_unpatch: {obj}\n");
    }
}

/// Answers 22, as the old patch would answer 11.
unsafe extern "C" fn enter(wait: unsafe extern "C" fn() -> c_int) -> c_int {
    // SAFETY: The target passes a function that may be called here: the old function calls it as well.
    match unsafe { wait() } {
        0 => 22,
        error => error,
    }
}

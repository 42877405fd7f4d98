// SPDX-License-Identifier: GPL-2.0

//! A livepatch of all three objects, that lives beside others.

mod callbacks;

use callbacks::{
    log,
    stateful, //
};
use kernel::{
    ffi::c_int,
    prelude::*, //
};
use klp::{
    Callbacks,
    Object,
    Slotted, //
};

klp::livepatch! {
    type: callbacks::Module,
    name: "lifecycle_plain",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: the plain livepatch of the lifecycle",
    license: "GPL",
    objects: [
        vmlinux { stateful: Kernel, },
        "lifecycle_alpha" {
            stateful: Alpha,
            functions: [
                // SAFETY: The declaration is that of lifecycle_alpha.c; a positive answer is as good as 0 to its caller.
                unsafe fn lifecycle_alpha_enter(unsafe extern "C" fn() -> c_int) -> c_int = enter,
            ],
        },
        "lifecycle_beta" {
            callbacks: Beta,
            functions: [
                // SAFETY: The declaration is that of lifecycle_beta.c; any answer is as good as 0 to its caller.
                unsafe fn lifecycle_beta_answer() -> c_int = answer,
            ],
        },
    ],
}

stateful!(Kernel, "vmlinux");
stateful!(Alpha, "lifecycle_alpha");

struct Beta;

#[vtable]
impl Callbacks for Beta {
    fn pre_patch(_obj: &Object) -> Result {
        // There is no state to keep, and so none to free.
        core::mem::forget(callbacks::pre_patch("lifecycle_beta")?);
        Ok(())
    }

    fn post_patch(obj: &Object) {
        log("post_patch", obj);
    }

    fn pre_unpatch(obj: &Object) {
        log("pre_unpatch", obj);
    }

    fn post_unpatch(obj: &Object) {
        log("post_unpatch", obj);
    }
}

/// Answers 1, or 9 where there is no state.
unsafe extern "C" fn enter(wait: unsafe extern "C" fn() -> c_int) -> c_int {
    // SAFETY: The target passes a function that may be called here: the old function calls it as well.
    match unsafe { wait() } {
        0 => Alpha::state().map_or(9, |_| 1),
        error => error,
    }
}

/// Answers 1.
unsafe extern "C" fn answer() -> c_int {
    1
}

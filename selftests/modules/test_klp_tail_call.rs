// SPDX-License-Identifier: GPL-2.0

//! Livepatch test: a replacement whose last act is a call of a function that sleeps.
//!
//! A compiler makes a jump of such a call, and then nothing of the replacement is on the stack of the task that sleeps:
//! the livepatch core would switch the task over and let the module go, with the task in it.

use kernel::ffi::c_int;

klp::livepatch! {
    name: "test_klp_tail_call",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a replacement that ends in a call",
    license: "GPL",
    objects: [
        "rules_target" {
            functions: [
                // SAFETY: The declaration is that of rules_target.c; a positive answer is as good as 0 to its caller.
                unsafe fn rules_target_enter(unsafe extern "C" fn() -> c_int) -> c_int = replacement,
            ],
        },
    ],
}

/// Its name means this function and nothing of the macro's own.
unsafe extern "C" fn replacement(wait: unsafe extern "C" fn() -> c_int) -> c_int {
    // SAFETY: As in `sleep`.
    unsafe { sleep(wait) }
}

#[inline(never)]
unsafe extern "C" fn sleep(wait: unsafe extern "C" fn() -> c_int) -> c_int {
    // SAFETY: The target passes a function that may be called here: the old function calls it as well.
    match unsafe { wait() } {
        0 => 7,
        error => error,
    }
}

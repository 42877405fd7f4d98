// SPDX-License-Identifier: GPL-2.0

//! Looks for a function of a module in the kernel.

use kernel::ffi::c_int;

klp::livepatch! {
    name: "trouble_wrong_object",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a function of another object",
    license: "GPL",
    // ANCHOR: objects
    objects: [
        vmlinux {
            functions: [
                // SAFETY: The declaration is that of trouble_functions.c; any number is as good as another to its caller.
                unsafe fn trouble_quota() -> c_int = answer,
            ],
        },
    ],
    // ANCHOR_END: objects
}

unsafe extern "C" fn answer() -> c_int {
    42
}

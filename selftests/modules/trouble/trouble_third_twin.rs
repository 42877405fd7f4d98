// SPDX-License-Identifier: GPL-2.0

//! Counts wrong: there are two functions of that name.

use kernel::ffi::c_int;

klp::livepatch! {
    name: "trouble_third_twin",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: the third of two functions",
    license: "GPL",
    // ANCHOR: objects
    objects: [
        "trouble_target" {
            functions: [
                // SAFETY: The declaration is that of trouble_functions.c; any number is as good as another to its caller.
                unsafe fn trouble_twin @ 3 () -> c_int = answer,
            ],
        },
    ],
    // ANCHOR_END: objects
}

unsafe extern "C" fn answer() -> c_int {
    42
}

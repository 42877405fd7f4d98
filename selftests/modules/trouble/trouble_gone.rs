// SPDX-License-Identifier: GPL-2.0

//! Replaces a function that the compiler left no trace of.

use kernel::ffi::c_int;

klp::livepatch! {
    name: "trouble_gone",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a static function that was inlined",
    license: "GPL",
    // ANCHOR: objects
    objects: [
        "trouble_target" {
            functions: [
                // SAFETY: The declaration is that of trouble_functions.c; any number is as good as another to its caller.
                unsafe fn trouble_share() -> c_int = answer,
            ],
        },
    ],
    // ANCHOR_END: objects
}

unsafe extern "C" fn answer() -> c_int {
    42
}

// SPDX-License-Identifier: GPL-2.0

//! Names a function of which the module has two.

use kernel::ffi::c_int;

klp::livepatch! {
    name: "trouble_ambiguous",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: two functions of one name",
    license: "GPL",
    // ANCHOR: objects
    objects: [
        "trouble_target" {
            functions: [
                // SAFETY: The declaration is that of trouble_functions.c; any number is as good as another to its caller.
                unsafe fn trouble_twin() -> c_int = answer,
            ],
        },
    ],
    // ANCHOR_END: objects
}

unsafe extern "C" fn answer() -> c_int {
    42
}

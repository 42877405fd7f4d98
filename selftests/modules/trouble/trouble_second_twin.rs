// SPDX-License-Identifier: GPL-2.0

//! Says which function of that name it means.

use kernel::ffi::c_int;

klp::livepatch! {
    name: "trouble_second_twin",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: the second function of that name",
    license: "GPL",
    // ANCHOR: objects
    objects: [
        "trouble_target" {
            functions: [
                // SAFETY: The declaration is that of trouble_functions.c; any number is as good as another to its caller.
                unsafe fn trouble_twin @ 2 () -> c_int as original = answer,
            ],
        },
    ],
    // ANCHOR_END: objects
}

unsafe extern "C" fn answer() -> c_int {
    // SAFETY: The duty of this function.
    40 + unsafe { original() }
}

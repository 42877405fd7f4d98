// SPDX-License-Identifier: GPL-2.0

//! Misspells the function that it replaces.

use kernel::ffi::c_int;

klp::livepatch! {
    name: "trouble_no_symbol",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a function that is not there",
    license: "GPL",
    // ANCHOR: objects
    objects: [
        vmlinux {
            functions: [
                // SAFETY: The one that is meant, nr_processes() of kernel/fork.c, is declared so; this name is not found, and nothing is replaced.
                unsafe fn nr_processed() -> c_int = answer,
            ],
        },
    ],
    // ANCHOR_END: objects
}

unsafe extern "C" fn answer() -> c_int {
    42
}

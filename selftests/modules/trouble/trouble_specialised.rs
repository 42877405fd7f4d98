// SPDX-License-Identifier: GPL-2.0

//! Replaces a function in whose place the compiler put a copy for its only caller.

use kernel::{
    bindings::seq_file,
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

klp::livepatch! {
    name: "trouble_specialised",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a function that was specialised",
    license: "GPL",
    // ANCHOR: objects
    objects: [
        "trouble_target" {
            functions: [
                // SAFETY: The declaration is that of trouble_functions.c; the replacement writes lines, as the old one does.
                unsafe fn trouble_sum(*mut seq_file, *mut c_void) = sum,
            ],
        },
    ],
    // ANCHOR_END: objects
}

unsafe extern "C" fn sum(m: *mut seq_file, _next: *mut c_void) {
    // SAFETY: The callers of the old function pass a file that they own for the duration of the call.
    let m = unsafe { SeqFile::from_raw(m) };
    seq_print!(m, "sum 42\n");
}

// SPDX-License-Identifier: GPL-2.0

//! Replaces the caller, where the function that is meant was inlined.

use kernel::{
    bindings::seq_file,
    ffi::c_int,
    seq_file::SeqFile,
    seq_print, //
};

klp::livepatch! {
    name: "trouble_caller",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: the caller of functions that were inlined",
    license: "GPL",
    // ANCHOR: objects
    objects: [
        "trouble_target" {
            functions: [
                // SAFETY: The declaration is that of trouble_functions.c; the replacement writes lines, as the old one does.
                unsafe fn trouble_inlined_show(*mut seq_file) -> c_int = show,
            ],
        },
    ],
    // ANCHOR_END: objects
}

unsafe extern "C" fn show(m: *mut seq_file) -> c_int {
    // SAFETY: The callers of the old function pass a file that they own for the duration of the call.
    let m = unsafe { SeqFile::from_raw(m) };
    seq_print!(m, "quota 42\nshare 42\n");
    0
}

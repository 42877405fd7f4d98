// SPDX-License-Identifier: GPL-2.0

//! Replaces the copy that the compiler made, under the name and with the parameters that it gave it.

use kernel::{
    bindings::seq_file,
    seq_file::SeqFile,
    seq_print, //
};

klp::livepatch! {
    name: "trouble_copy",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: the copy that was called instead",
    license: "GPL",
    // ANCHOR: objects
    objects: [
        "trouble_target" {
            functions: [
                // SAFETY: Disassembled, the copy takes the file alone; the replacement writes a line, as it does.
                unsafe fn "trouble_sum.constprop.0"(*mut seq_file) = sum,
            ],
        },
    ],
    // ANCHOR_END: objects
}

unsafe extern "C" fn sum(m: *mut seq_file) {
    // SAFETY: The callers of the old function pass a file that they own for the duration of the call.
    let m = unsafe { SeqFile::from_raw(m) };
    seq_print!(m, "sum 42\n");
}

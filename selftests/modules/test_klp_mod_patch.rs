// SPDX-License-Identifier: GPL-2.0

//! Replaces what `/proc/test_klp_mod_target` shows, a file of the module of that name.

use kernel::{
    bindings::seq_file,
    ffi::c_int,
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

klp::livepatch! {
    name: "test_klp_mod_patch",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: one function of a module",
    license: "GPL",
    objects: [
        "test_klp_mod_target" {
            functions: [
                // SAFETY: The declaration is that of test_klp_mod_target; the replacement shows a line, as the old one does.
                unsafe fn test_klp_mod_target_show(*mut seq_file, *mut c_void) -> c_int = livepatch_mod_target_show,
            ],
        },
    ],
}

unsafe extern "C" fn livepatch_mod_target_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
    // SAFETY: The callers of the old function pass a file that they own for the duration of the call.
    let m = unsafe { SeqFile::from_raw(m) };
    seq_print!(m, "test_klp_mod_patch: this has been live patched\n");
    0
}

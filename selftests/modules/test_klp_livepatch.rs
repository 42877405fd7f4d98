// SPDX-License-Identifier: GPL-2.0

//! Replaces what `/proc/cmdline` shows, by a function that is traced by its name.

use kernel::{
    bindings::seq_file,
    ffi::c_int,
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

klp::livepatch! {
    name: "test_klp_livepatch",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: one function of the kernel",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                // SAFETY: The declaration is that of fs/proc/cmdline.c; the replacement shows a line, as the old one does.
                unsafe fn cmdline_proc_show(*mut seq_file, *mut c_void) -> c_int = livepatch_cmdline_proc_show,
            ],
        },
    ],
}

klp::traceable! {
    unsafe extern "C" fn livepatch_cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: The callers of the old function pass a file that they own for the duration of the call.
        let m = unsafe { SeqFile::from_raw(m) };
        seq_print!(m, "test_klp_livepatch: this has been live patched\n");
        0
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The kernel's `livepatch-sample.c`: `/proc/cmdline` says something else.

use kernel::{
    bindings::seq_file,
    ffi::{
        c_int,
        c_void, //
    },
    seq_file::SeqFile,
    seq_print, //
};

klp::livepatch! {
    name: "livepatch_sample",
    authors: ["The livepatch cookbook"],
    description: "Kernel Live Patching Sample Module, in Rust",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                // SAFETY: The declaration is that of each `show` of a seq_file.
                unsafe fn cmdline_proc_show(*mut seq_file, *mut c_void) -> c_int = show,
            ],
        },
    ],
}

/// # Safety
///
/// `m` must be a file that is being read.
unsafe extern "C" fn show(m: *mut seq_file, _v: *mut c_void) -> c_int {
    // SAFETY: The duty of this function.
    let m = unsafe { SeqFile::from_raw(m) };
    seq_print!(m, "this has been live patched\n");
    0
}

// SPDX-License-Identifier: GPL-2.0

//! Replaces what `/proc/meminfo` shows, and with `replace=1` every other livepatch as well.

use kernel::{
    bindings::seq_file,
    ffi::c_int,
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

klp::param! {
    static REPLACE("replace"): i32 = 0, 0o644, "not 0: take the place of all livepatches that are enabled (default=0)"
}

klp::livepatch! {
    name: "test_klp_atomic_replace",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: atomic replace",
    license: "GPL",
    replace: REPLACE.get() != 0,
    objects: [
        vmlinux {
            functions: [
                // SAFETY: The declaration is that of fs/proc/meminfo.c; the replacement shows a line, as the old one does.
                unsafe fn meminfo_proc_show(*mut seq_file, *mut c_void) -> c_int = livepatch_meminfo_proc_show,
            ],
        },
    ],
}

unsafe extern "C" fn livepatch_meminfo_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
    // SAFETY: The callers of the old function pass a file that they own for the duration of the call.
    let m = unsafe { SeqFile::from_raw(m) };
    seq_print!(m, "test_klp_atomic_replace: this has been live patched\n");
    0
}

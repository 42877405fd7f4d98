// SPDX-License-Identifier: GPL-2.0

// ANCHOR: module
//! Version 2 of `uptime_grain`: whoever administrates the system still sees hundredths.
//!
//! Version 1 took them from everybody, also from the program that draws the load of the machine for its owner.

mod uptime;

use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    seq_file::SeqFile,
    seq_print, //
};

klp::bindings!();

klp::livepatch! {
    name: "uptime_grain_2",
    authors: ["Your Name"],
    description: "Show the idle time in /proc/uptime in whole seconds, but to administrators",
    license: "GPL",
    replace: true,
    objects: [
        vmlinux {
            functions: [
                // SAFETY: The declaration is that of fs/proc/uptime.c.
                unsafe fn uptime_proc_show(*mut bindings::seq_file, *mut c_void) -> c_int = show,
            ],
        },
    ],
}
// ANCHOR_END: module

// ANCHOR: replacement
/// Replaces `uptime_proc_show()`.
///
/// # Safety
///
/// As that function: `seq` must be the open file `/proc/uptime`.
unsafe extern "C" fn show(seq: *mut bindings::seq_file, _v: *mut c_void) -> c_int {
    // SAFETY: The duty of this function.
    let file = unsafe { SeqFile::from_raw(seq) };
    // SAFETY: The duty of this function.
    let exact = unsafe { uptime::opened_by_admin(seq) };
    let (up, mut idle) = (uptime::uptime(), uptime::idle());
    if !exact {
        idle.hundredths = 0;
    }
    seq_print!(file, "{}.{:02} ", up.seconds, up.hundredths);
    seq_print!(file, "{}.{:02}\n", idle.seconds, idle.hundredths);
    0
}
// ANCHOR_END: replacement

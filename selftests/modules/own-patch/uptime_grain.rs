// SPDX-License-Identifier: GPL-2.0

// ANCHOR: module
//! A livepatch for `/proc/uptime`: shows the idle time in whole seconds.
//!
//! The second number of the file is the time that all CPUs together were idle. The kernel prints it in hundredths of a
//! second, to everybody. A program that reads it in a loop sees when somebody else's program works: on a machine that is
//! otherwise idle, each keystroke. Whole seconds serve `uptime` and its like as well.

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
    name: "uptime_grain",
    authors: ["Your Name"],
    description: "Show the idle time in /proc/uptime in whole seconds",
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
    let (up, idle) = (uptime::uptime(), uptime::idle());
    seq_print!(
        file,
        "{}.{:02} {}.00\n",
        up.seconds,
        up.hundredths,
        idle.seconds
    );
    0
}
// ANCHOR_END: replacement

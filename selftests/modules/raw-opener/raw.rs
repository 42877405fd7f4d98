// SPDX-License-Identifier: GPL-2.0

//! The parts of net/ipv4/raw.c that the patch rewrites, each call wrapped once.
//!
//! C header: [`include/net/raw.h`](srctree/include/net/raw.h)

use kernel::{
    fmt,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::CStr, //
};

use crate::bindings;

/// Puts a socket into the table of its protocol. Process context.
///
/// # Safety
///
/// `sk` must be a raw socket that is in no table.
pub(crate) unsafe fn hash(sk: *mut bindings::sock) {
    // SAFETY: The duty of this function.
    unsafe { bindings::raw_hash(sk) };
}

/// Takes a socket out of the table of its protocol; does nothing if it is in none. Process context.
///
/// # Safety
///
/// `sk` must be a raw socket that is alive.
pub(crate) unsafe fn unhash(sk: *mut bindings::sock) {
    // SAFETY: The duty of this function.
    unsafe { bindings::raw_unhash(sk) };
}

/// Calls `visit` for every raw IPv4 socket in the table, under the lock that [`hash`] and [`unhash`] need: it must not
/// sleep. Process context.
pub(crate) fn for_each<F: Fn(*mut bindings::sock)>(visit: F) {
    /// # Safety
    ///
    /// `visit` must be a valid `F`.
    unsafe extern "C" fn call<F: Fn(*mut bindings::sock)>(
        sk: *mut bindings::sock,
        visit: *mut c_void,
    ) {
        // SAFETY: The duty of this function.
        unsafe { (*visit.cast::<F>())(sk) };
    }
    let data = (&raw const visit).cast_mut().cast();
    // SAFETY: `call` gets the closure, which outlives the walk.
    unsafe { bindings::raw_for_each(Some(call::<F>), data) };
}

/// Writes the kernel's own line for a socket, or its heading, with one more column.
///
/// # Safety
///
/// `seq` and `v` must be the arguments of `raw_seq_show()`.
pub(crate) unsafe fn show(seq: *mut bindings::seq_file, v: *mut c_void, opener: Option<&Process>) {
    // SAFETY: The duty of this function.
    let file = unsafe {
        bindings::raw_show(seq, v.cast());
        SeqFile::from_raw(seq)
    };
    match opener {
        _ if v as usize == 1 => seq_print!(file, " opener\n"), // SEQ_START_TOKEN
        Some(opener) => seq_print!(file, " {opener}\n"),
        None => seq_print!(file, " -\n"),
    }
}

klp::fixed_layout! {
    /// A process, as it was at some moment.
    #[derive(Clone, Copy)]
    pub(crate) struct Process {
        pid: i32,
        comm: [u8; 16],
    }
}

impl Process {
    /// No process is known.
    pub(crate) const UNKNOWN: Self = Self {
        pid: 0,
        comm: [0; 16],
    };

    /// The one that runs now.
    pub(crate) fn current() -> Self {
        let task = current!().as_ptr();
        // SAFETY: The current task is alive, `tgid` is never written, and `comm` always holds a final NUL.
        unsafe {
            Self {
                pid: (*task).tgid,
                comm: (&raw const (*task).comm).cast::<[u8; 16]>().read_volatile(),
            }
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CStr::from_bytes_until_nul(&self.comm) {
            Ok(comm) if self.pid != 0 => f.write_fmt(fmt!("{comm}[{}]", self.pid)),
            _ => f.write_str("?"),
        }
    }
}

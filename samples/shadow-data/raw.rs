// SPDX-License-Identifier: GPL-2.0

//! The parts of net/ipv4/raw.c that the patch rewrites, each call wrapped once.
//!
//! C header: [`include/net/raw.h`](srctree/include/net/raw.h)

use kernel::{
    fmt,
    prelude::*,
    seq_file::SeqFile,
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
    unsafe { bindings::rust_helper_raw_hash(sk) };
}

/// Takes a socket out of the table of its protocol; does nothing if it is in none. Process context.
///
/// # Safety
///
/// `sk` must be a raw socket that is alive.
pub(crate) unsafe fn unhash(sk: *mut bindings::sock) {
    // SAFETY: The duty of this function.
    unsafe { bindings::rust_helper_raw_unhash(sk) };
}

/// Calls `visit` for every raw IPv4 socket in the table, under the lock that [`hash`] and [`unhash`] need: it must not
/// sleep. Process context.
pub(crate) fn for_each(visit: unsafe extern "C" fn(*mut bindings::sock)) {
    // SAFETY: `visit` is called with sockets that stay in the table meanwhile.
    unsafe { bindings::rust_helper_raw_for_each(Some(visit)) };
}

/// Writes the kernel's own line for `sk`, or its heading, without the newline.
///
/// # Safety
///
/// The arguments must be those of `raw_seq_show()`.
pub(crate) unsafe fn show<'a>(
    seq: *mut bindings::seq_file,
    sk: *mut bindings::sock,
) -> &'a SeqFile {
    // SAFETY: The duty of this function; the file outlives the call of `raw_seq_show()`.
    unsafe {
        bindings::rust_helper_raw_show(seq, sk);
        SeqFile::from_raw(seq)
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

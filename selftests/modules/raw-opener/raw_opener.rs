// SPDX-License-Identifier: GPL-2.0

//! A livepatch that adds a field to a structure that exists by the thousand: who opened each raw socket. Its twin in C is
//! c-twins/ctwin_raw_opener.c; the two are measured against each other.
//!
//! A raw socket reads and forges packets of any protocol. `/proc/net/raw` lists them, but an administrator who finds one
//! there learns only the user, and for a socket that was passed on, or whose owner is long root again, that tells little.
//! `struct sock` does not remember the process. A new field would change the layout of a structure that exists by the
//! thousand and that every module knows; so the field lives beside it, in a shadow variable.
//!
//! Why callbacks: sockets that are open when the patch comes never pass through the new functions, so post_patch gives
//! them the field, and the fields must go with the patch. A task that still runs the old functions would neither
//! attach nor free. So there is nothing to attach before all tasks have moved, and nothing to show once some move back.
//!
//! ```text
//! # python3 -c 'import socket, time; s = socket.socket(2, 3, 1); time.sleep(99)' &
//! # insmod raw_opener.ko
//! # python3 -c 'import socket, time; s = socket.socket(2, 3, 6); time.sleep(99)' &
//! # cat /proc/net/raw
//!   sl  local_address …  drops opener
//!    …  00000000:0001 …      0 ?
//!    …  00000000:0006 …      0 python3[131]
//! ```

mod raw;

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

klp::bindings!();

klp::livepatch! {
    name: "raw_opener",
    authors: ["The livepatch cookbook"],
    description: "Show who opened each raw socket in /proc/net/raw",
    license: "GPL",
    states: [
        /// A cumulative patch that does not know of the field ("rawo") is refused: it would leave it on every socket, and
        /// the next socket at such an address would have the opener of the one before.
        static FIELD: () = { id: OPENER_ID, version: 1 },
    ],
    objects: [
        vmlinux {
            callbacks: RawOpener,
            functions: [
                fn raw_hash_sk(*mut bindings::sock) -> c_int = hash,
                fn raw_unhash_sk(*mut bindings::sock) = unhash,
                // SAFETY: The declaration is that of net/ipv4/raw.c, where it is static.
                unsafe fn raw_seq_show(*mut bindings::seq_file, *mut c_void) -> c_int = show,
            ],
        },
    ],
}

/// The id of the shadow variable, and of the state that says that it is there: "rawo".
const OPENER_ID: usize = 0x7261_776f;

/// The field that `struct sock` lacks.
// SAFETY: No other patch uses this id, and the type is plain data.
static OPENER: klp::Shadow<bindings::sock, raw::Process> = unsafe { klp::Shadow::new(OPENER_ID) };

/// Whether every task runs the new functions, so that a field is where a socket is.
static COMPLETE: Atomic<bool> = Atomic::new(false);

struct RawOpener;

#[vtable]
impl klp::Callbacks for RawOpener {
    /// Every socket that is made from now on gets the field in [`hash`]; those that exist get it here. One that is made
    /// at this moment may get it twice, of which the first stays, but never not at all.
    fn post_patch(obj: &klp::Object) {
        // After an unpatching that was reversed there are fields of before. Tasks that had moved back have closed their
        // sockets by the old function, and others may have opened theirs at the same addresses.
        OPENER.free_all();
        COMPLETE.store(true, Relaxed);
        // Runs under the lock of the table: the socket cannot leave it, and so not lose the field before it has it. Without
        // memory the socket is shown without an opener; this is too late to refuse the patch.
        raw::for_each(|sk| {
            let _ = OPENER.attach(sk, GFP_ATOMIC, raw::Process::UNKNOWN);
        });
        pr_info!("post_patch: {obj}: attached to the sockets that were here\n");
    }

    fn pre_unpatch(obj: &klp::Object) {
        COMPLETE.store(false, Relaxed);
        pr_info!("pre_unpatch: {obj}\n");
    }

    fn post_unpatch(obj: &klp::Object) {
        OPENER.free_all();
        pr_info!("post_unpatch: {obj}: freed\n");
    }
}

/// Replaces `raw_hash_sk()`, by which a socket goes live.
///
/// # Safety
///
/// As that function: `sk` must be a raw socket that is in no table, and the caller may sleep.
unsafe extern "C" fn hash(sk: *mut bindings::sock) -> c_int {
    // SAFETY: The duty of this function.
    unsafe { raw::hash(sk) };
    // After the lock of the table was held, as in `post_patch`: either this sees `COMPLETE`, or the walk sees `sk`.
    if COMPLETE.load(Relaxed) {
        // FIX: the socket remembers who opened it. Without memory it does not: no socket fails for the sake of a column.
        let _ = OPENER.attach(sk, GFP_KERNEL, raw::Process::current());
    }
    0
}

/// Replaces `raw_unhash_sk()`, by which a socket dies. The address may serve the next socket at once.
///
/// # Safety
///
/// As that function: `sk` must be a raw socket that is alive.
unsafe extern "C" fn unhash(sk: *mut bindings::sock) {
    // SAFETY: The duty of this function.
    unsafe { raw::unhash(sk) };
    OPENER.free(sk);
}

/// Replaces `raw_seq_show()`: a line of `/proc/net/raw`.
///
/// # Safety
///
/// As that function: `v` must be what the iterator of the file gave.
unsafe extern "C" fn show(seq: *mut bindings::seq_file, v: *mut c_void) -> c_int {
    let opener = OPENER.get(v.cast()).filter(|_| COMPLETE.load(Relaxed));
    // SAFETY: The duty of this function.
    unsafe { raw::show(seq, v, opener.as_deref()) };
    0
}

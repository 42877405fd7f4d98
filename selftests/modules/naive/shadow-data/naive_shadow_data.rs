// SPDX-License-Identifier: GPL-2.0

//! The patch of samples/shadow-data as it is written first. **It is wrong**: nothing frees the field of a socket.

#[path = "../../../../samples/shadow-data/raw.rs"]
#[expect(dead_code, reason = "this is what the patch leaves out")]
mod raw;

use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*, //
};

use raw::Process;

klp::bindings!();

// ANCHOR: naive
klp::livepatch! {
    name: "naive_shadow_data",
    authors: ["The livepatch cookbook"],
    description: "Show who opened each raw socket in /proc/net/raw (wrong)",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                fn raw_hash_sk(*mut bindings::sock) -> c_int = hash,
                // SAFETY: The declaration is that of net/ipv4/raw.c, where it is static.
                unsafe fn raw_seq_show(*mut bindings::seq_file, *mut c_void) -> c_int = show,
            ],
        },
    ],
}

// SAFETY: No other patch uses this id, and the type is plain data.
static OPENER: klp::Shadow<bindings::sock, Process> = unsafe { klp::Shadow::new(0x6e61_6976) };

unsafe extern "C" fn hash(sk: *mut bindings::sock) -> c_int {
    if let Err(error) = OPENER.get_or_alloc(sk, GFP_KERNEL, Process::current()) {
        return error.to_errno();
    }
    // SAFETY: As `raw_hash_sk()` demands, `sk` is a raw socket that is in no table.
    unsafe { raw::hash(sk) };
    0
}

unsafe extern "C" fn show(seq: *mut bindings::seq_file, v: *mut c_void) -> c_int {
    let opener = OPENER
        .get(v.cast())
        .map_or(Process::UNKNOWN, |opener| *opener);
    // SAFETY: The arguments are those of `raw_seq_show()`.
    unsafe { raw::show(seq, v, Some(&opener)) };
    0
}
// ANCHOR_END: naive

// SPDX-License-Identifier: GPL-2.0

//! The plain livepatch: one function is wrong, and a right one takes its place.
//!
//! `dev_valid_name()` decides how a network device may be called. The commit "net: reject creation of netdev names with
//! colons" of 2015 was a fix of one line in it: one more character that is refused. Linux 7.2 has that one. It still takes
//! control characters, and a name is printed where people look: by `ip link`, and by the kernel itself on the console
//! ("renamed from …"). With ESC in it the name talks to their terminal. Who gives it need not be the machine's root; root in a
//! user namespace of his own will do. This patch is the same fix of one line for these characters.
//!
//! No callback: no value in memory is wrong, and nothing has to be given back. A device that has such a name keeps it.
//!
//! ```text
//! # insmod function_fix.ko
//! # ip link add "$(printf 'a\033b')" type dummy
//! RTNETLINK answers: Invalid argument
//! ```

use kernel::{
    ffi::c_char,
    str::{
        CStr,
        CStrExt as _, //
    }, //
};

klp::bindings!();

// ANCHOR: metadata
klp::livepatch! {
    name: "function_fix",
    authors: ["The livepatch cookbook"],
    description: "Refuse control characters in the names of network devices",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                fn dev_valid_name(*const c_char) -> bool as original = valid_name,
            ],
        },
    ],
}
// ANCHOR_END: metadata

// ANCHOR: replacement
/// Replaces `dev_valid_name()`.
///
/// A renaming calls it with a spinlock held (`netif_change_name()`): it must not sleep.
///
/// # Safety
///
/// As for that function: `name` must be readable up to a NUL, or else for `IFNAMSIZ` bytes, and nobody may change it
/// meanwhile.
unsafe extern "C" fn valid_name(name: *const c_char) -> bool {
    // SAFETY: The duty of this function.
    if !unsafe { original(name) } {
        return false;
    }
    // SAFETY: It has found a NUL among the first `IFNAMSIZ` bytes.
    let name = unsafe { CStr::from_char_ptr(name) };
    !name.to_bytes().iter().any(u8::is_ascii_control) // FIX: they talk to the terminal of whoever reads the name
}
// ANCHOR_END: replacement

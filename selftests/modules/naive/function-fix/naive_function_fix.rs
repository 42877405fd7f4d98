// SPDX-License-Identifier: GPL-2.0

//! The patch of samples/function-fix as it is written first. **It is wrong**: it refuses what a Rust programmer takes for
//! white space, which is less than what the kernel refuses.

use kernel::{
    ffi::c_char,
    str::{
        CStr,
        CStrExt, //
    }, //
};

klp::livepatch! {
    name: "naive_function_fix",
    authors: ["The livepatch cookbook"],
    description: "Refuse control characters in the names of network devices (wrong)",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                // SAFETY: The declaration is that of include/linux/netdevice.h.
                unsafe fn dev_valid_name(*const c_char) -> bool = valid_name,
            ],
        },
    ],
}

// ANCHOR: naive
/// # Safety
///
/// `name` must end in a NUL.
unsafe extern "C" fn valid_name(name: *const c_char) -> bool {
    // SAFETY: The duty of this function.
    let name = unsafe { CStr::from_char_ptr(name) }.to_bytes();
    let refused =
        |c: &u8| matches!(c, b'/' | b':') || c.is_ascii_whitespace() || c.is_ascii_control();
    !matches!(name, b"" | b"." | b"..") && name.len() < 16 && !name.iter().any(refused)
}
// ANCHOR_END: naive

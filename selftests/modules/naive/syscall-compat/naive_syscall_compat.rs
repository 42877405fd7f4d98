// SPDX-License-Identifier: GPL-2.0

//! The patch of samples/syscall-compat as it is written first. **It is wrong**: it replaces the entry of 64-bit programs, and
//! there are others.

use kernel::{
    bindings::pt_regs,
    ffi::c_long,
    prelude::*, //
};

klp::bindings!();

// ANCHOR: naive
klp::livepatch! {
    name: "naive_syscall_compat",
    authors: ["The livepatch cookbook"],
    description: "Let waitid() look where it shall write before it reaps a child (wrong)",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                fn (syscall waitid)(*const pt_regs) -> c_long as original = waitid,
            ],
        },
    ],
}

/// # Safety
///
/// `regs` must be the registers of the call.
unsafe extern "C" fn waitid(regs: *const pt_regs) -> c_long {
    // SAFETY: The duty of this function.
    let infop = unsafe { (*regs).dx };
    // SAFETY: It is given an address, which need not be valid. Up to `si_status` there are 28 bytes.
    if infop != 0 && unsafe { bindings::fault_in_safe_writeable(infop as *const _, 28) } != 0 {
        return EFAULT.to_errno() as c_long;
    }
    // SAFETY: The duty of this function.
    unsafe { original(regs) }
}
// ANCHOR_END: naive

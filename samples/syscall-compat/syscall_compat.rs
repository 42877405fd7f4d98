// SPDX-License-Identifier: GPL-2.0

//! A check is missing in a system call, and 32-bit programs come by another entry.
//!
//! waitid() reaps a child and then writes to `infop` which one. If it cannot write there it returns EFAULT, but the child is gone:
//! nobody will ever know how it ended. In 2017 "waitid(): Add missing access_ok() checks" (96ca579a1ecc) repaired that
//! place, for the 64-bit call and for the compat call, each of which writes a structure of its own: any user could write into the
//! kernel by it (CVE-2017-5123). This patch has the shape of that fix. It looks at `infop` too, but before a child is reaped.
//!
//! No callback: no value in memory is wrong. A program that sleeps in the replacement when the patch goes is sent through the old
//! entry by the livepatch core, and does not notice.
//!
//! ```text
//! # insmod syscall_compat.ko
//! # selftests/waitid.py lose ia32
//! waitid(), 32 bit: EFAULT, the child: known
//! ```

use kernel::{
    bindings::pt_regs,
    ffi::c_long, //
};

use wait::Infop;

mod wait;

klp::bindings!();

// ANCHOR: metadata
klp::livepatch! {
    name: "syscall_compat",
    authors: ["The livepatch cookbook"],
    description: "Let waitid() look where it shall write before it reaps a child",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                fn (syscall waitid)(*const pt_regs) -> c_long as native_original = native,
                #[cfg(CONFIG_IA32_EMULATION)]
                fn (compat_syscall waitid)(*const pt_regs) -> c_long as ia32_original = ia32,
                #[cfg(CONFIG_X86_X32_ABI)]
                fn (x32_syscall waitid)(*const pt_regs) -> c_long as x32_original = x32,
            ],
        },
    ],
}
// ANCHOR_END: metadata

// ANCHOR: entries
/// Replaces `__x64_sys_waitid()`.
///
/// # Safety
///
/// As for each entry: `regs` must be the registers of the call.
unsafe extern "C" fn native(regs: *const pt_regs) -> c_long {
    // SAFETY: The duty of this function; nobody changes them while the call runs.
    let [_, _, infop, ..] = klp::syscall_args(unsafe { &*regs });
    if let Err(fault) = Infop::native(infop).check() {
        return fault.to_errno() as c_long; // FIX: behind the wait the child would be lost
    }
    // SAFETY: The duty of this function.
    unsafe { native_original(regs) }
}

/// Replaces `__ia32_compat_sys_waitid()`.
///
/// # Safety
///
/// As for [`native`].
#[cfg(CONFIG_IA32_EMULATION)]
unsafe extern "C" fn ia32(regs: *const pt_regs) -> c_long {
    // SAFETY: As in `native`.
    let [_, _, infop, ..] = klp::ia32_syscall_args(unsafe { &*regs });
    if let Err(fault) = Infop::compat(infop as usize).check() {
        return fault.to_errno() as c_long; // FIX: the same by the other entry
    }
    // SAFETY: As in `native`.
    unsafe { ia32_original(regs) }
}

/// Replaces `__x64_compat_sys_waitid()`: the registers of a 64-bit program, the structure of a 32-bit one.
///
/// # Safety
///
/// As for [`native`].
#[cfg(CONFIG_X86_X32_ABI)]
unsafe extern "C" fn x32(regs: *const pt_regs) -> c_long {
    // SAFETY: As in `native`.
    let [_, _, infop, ..] = klp::syscall_args(unsafe { &*regs });
    if let Err(fault) = Infop::compat(infop).check() {
        return fault.to_errno() as c_long; // FIX: and by the third
    }
    // SAFETY: As in `native`.
    unsafe { x32_original(regs) }
}
// ANCHOR_END: entries

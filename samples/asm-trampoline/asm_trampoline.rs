// SPDX-License-Identifier: GPL-2.0

//! A livepatch for code that ftrace cannot reach: assembly, and a function in Rust.
//!
//! `asm_target` computes an Internet checksum in assembly and loses the carries, and a percentage in Rust, which is 0
//! up to 99. Neither has a call to `__fentry__`, so the kernel refuses to patch them (see `asm_naive.rs` in
//! selftests/modules/naive). The third routine is the kernel's own: `rdmsr_safe_regs()` serves the register ioctl of
//! `/dev/cpu/*/msr`, which shall not give away the processor's serial number any more; nor shall `read()` of that
//! file, which goes another way.
//!
//! ```text
//! # insmod asm_target.ko
//! # cd /sys/kernel/asm_target
//! # cat checksum percent
//! 0xb863
//! 0
//! # insmod asm_trampoline.ko
//! # cat checksum percent
//! 0xb861
//! 75
//! # echo 0 > /sys/kernel/livepatch/asm_trampoline/enabled
//! # cat checksum percent
//! 0xb863
//! 0
//! ```

mod msr;

use kernel::{
    error::from_result,
    ffi::c_int,
    prelude::*, //
};

use msr::Gprs;

klp::bindings!();

// ANCHOR: metadata
klp::livepatch! {
    name: "asm_trampoline",
    authors: ["The livepatch cookbook"],
    description: "Redirect the callers of wrong assembly and Rust code",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                fn rdmsrq_safe_on_cpu(u32, u32, *mut u64) -> c_int = rdmsrq_safe_on_cpu,
            ],
            redirects: [
                // It is called with interrupts off, and the replacement does not sleep.
                fn rdmsr_safe_regs(*mut u32) -> c_int = rdmsr_safe_regs,
            ],
        },
        "asm_target" {
            redirects: [
                // SAFETY: As checksum.S declares it. The replacement only computes.
                unsafe fn asm_target_checksum(*const u16, usize) -> u16 = checksum,
                // SAFETY: As asm_target.rs declares it. The replacement only computes.
                unsafe fn asm_target_percent(u32, u32) -> u32 = percent,
            ],
        },
    ],
}
// ANCHOR_END: metadata

// ANCHOR: replacements
/// Replaces `asm_target_checksum()`: a carry comes back in at the bottom.
///
/// # Safety
///
/// As for the routine: there are `count` words at `words`.
unsafe extern "C" fn checksum(words: *const u16, count: usize) -> u16 {
    // SAFETY: The duty of this function.
    let words = unsafe { core::slice::from_raw_parts(words, count) };
    let add = |sum: u16, &word: &u16| {
        let (sum, carry) = sum.overflowing_add(word);
        // FIX: the carry, which the routine loses.
        sum + u16::from(carry)
    };
    !words.iter().fold(0, add)
}

/// Replaces `asm_target_percent()`: multiplies before it divides.
extern "C" fn percent(used: u32, total: u32) -> u32 {
    // FIX: multiplied before it is divided.
    let percent = (u64::from(used) * 100).checked_div(total.into());
    percent.unwrap_or(0) as u32
}

/// Replaces `rdmsr_safe_regs()`: to its callers the processor has no serial number.
///
/// # Safety
///
/// As for the routine: there are eight words at `gprs`, which are the caller's own.
unsafe extern "C" fn rdmsr_safe_regs(gprs: *mut u32) -> c_int {
    // SAFETY: The duty of this function.
    let gprs = unsafe { &mut *gprs.cast::<Gprs>() };
    from_result(|| {
        // FIX: nobody learns which processor this is.
        if gprs.is_serial_number() {
            return Err(EIO);
        }
        gprs.rdmsr().map(|()| 0)
    })
}

/// Replaces `rdmsrq_safe_on_cpu()`, which `read()` of the file calls: reads as the ioctl does, and so is refused as well.
///
/// # Safety
///
/// As for the function: `value` must be valid for a write, and the caller may sleep.
unsafe extern "C" fn rdmsrq_safe_on_cpu(cpu: u32, msr: u32, value: *mut u64) -> c_int {
    let mut gprs = Gprs::of(msr);
    // FIX: by the routine that refuses the serial number.
    let ret = gprs.rdmsr_on(cpu);
    // SAFETY: The duty of this function; the function writes also when it fails.
    unsafe { value.write(gprs.value()) };
    from_result(|| ret.map(|()| 0))
}
// ANCHOR_END: replacements

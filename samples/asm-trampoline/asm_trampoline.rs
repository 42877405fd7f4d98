// SPDX-License-Identifier: GPL-2.0

//! A livepatch for code that ftrace cannot reach: assembly, and a function in Rust.
//!
//! `asm_target` computes an Internet checksum in assembly and loses the carries, and a percentage in Rust, which is 0
//! up to 99. Neither has a call to `__fentry__`, so the kernel refuses to patch them (see `asm_naive.rs`). The third
//! routine is the kernel's own: `rdmsr_safe_regs()` serves the register ioctl of `/dev/cpu/*/msr`, which shall not give
//! away the processor's serial number any more.
//!
//! Callbacks redirect the callers: they check and register in pre-patch, where a refusal is still possible, arm and
//! disarm around the time in which the patch is in force, and wait in post-unpatch until no task is in a replacement.
//!
//! ```text
//! # insmod asm_target.ko
//! # cd /sys/kernel/debug/asm_target
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

use core::marker::PhantomData;

use kernel::{
    error::from_result,
    ffi::c_int,
    prelude::*, //
};

use msr::Gprs;

klp::bindings!();

// ANCHOR: metadata
klp::livepatch! {
    type: AsmTrampoline,
    name: "asm_trampoline",
    authors: ["The livepatch cookbook"],
    description: "Redirect the callers of wrong assembly and Rust code",
    license: "GPL",
    objects: [
        vmlinux { stateful: Redirected<Kernel>, },
        "asm_target" { stateful: Redirected<AsmTarget>, },
    ],
}
// ANCHOR_END: metadata

struct AsmTrampoline;

impl klp::Livepatch for AsmTrampoline {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

// ANCHOR: routes
/// What is redirected in one object.
trait Routed: 'static {
    const ROUTES: &'static [klp::Route];
}

struct Kernel;

impl Routed for Kernel {
    const ROUTES: &'static [klp::Route] = &klp::routes![
        // SAFETY: As arch/x86/include/asm/msr.h declares it. It is called with interrupts off, and the replacement does
        // not sleep.
        unsafe fn rdmsr_safe_regs(*mut Gprs) -> c_int = rdmsr_safe_regs,
    ];
}

struct AsmTarget;

impl Routed for AsmTarget {
    const ROUTES: &'static [klp::Route] = &klp::routes![
        // SAFETY: As checksum.S declares it. The replacement only computes.
        unsafe fn asm_target_checksum(*const u16, usize) -> u16 = checksum,
        // SAFETY: As glue.rs declares it. The replacement only computes.
        unsafe fn asm_target_percent(u32, u32) -> u32 = percent,
    ];
}
// ANCHOR_END: routes

// ANCHOR: callbacks
/// The callbacks of an object, which differ in the routes only.
struct Redirected<R>(PhantomData<R>);

#[vtable]
impl<R: Routed> klp::StatefulCallbacks for Redirected<R> {
    type State = klp::Redirect;

    /// All that the kernel may refuse, it refuses here.
    fn pre_patch(obj: &klp::Object) -> impl PinInit<klp::Redirect, Error> {
        let redirect = klp::Redirect::prepare(obj, R::ROUTES)?;
        pr_info!("pre_patch: {obj}: routes: {}\n", R::ROUTES.len());
        Ok(redirect)
    }

    fn post_patch(obj: &klp::Object, redirect: Pin<&klp::Redirect>) {
        redirect.arm();
        pr_info!("post_patch: {obj}: armed\n");
    }

    fn pre_unpatch(obj: &klp::Object, redirect: Pin<&klp::Redirect>) {
        redirect.disarm();
        pr_info!(
            "pre_unpatch: {obj}: disarmed, missed: {}\n",
            redirect.missed()
        );
    }

    /// A task may have been preempted in a replacement: without the wait it would wake up in freed memory.
    fn post_unpatch(obj: &klp::Object, redirect: Pin<KBox<klp::Redirect>>) {
        drop(redirect);
        pr_info!("post_unpatch: {obj}: drained\n");
    }
}
// ANCHOR_END: callbacks

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
        sum + u16::from(carry)
    };
    !words.iter().fold(0, add)
}

/// Replaces `asm_target_percent()`: multiplies before it divides.
extern "C" fn percent(used: u32, total: u32) -> u32 {
    let percent = (u64::from(used) * 100).checked_div(total.into());
    percent.unwrap_or(0) as u32
}

/// Replaces `rdmsr_safe_regs()`: to its callers the processor has no serial number.
///
/// # Safety
///
/// As for the routine: `gprs` must be valid and the caller's own.
unsafe extern "C" fn rdmsr_safe_regs(gprs: *mut Gprs) -> c_int {
    // SAFETY: The duty of this function.
    let gprs = unsafe { &mut *gprs };
    from_result(|| {
        if gprs.is_serial_number() {
            return Err(EIO);
        }
        gprs.rdmsr().map(|()| 0)
    })
}
// ANCHOR_END: replacements

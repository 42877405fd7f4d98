// SPDX-License-Identifier: GPL-2.0

//! The patch of samples/asm-trampoline as it is written after the kernel has refused the first one. **It is wrong**:
//! nobody hears of a probe that cannot be registered, and no probe can be registered twice.

use kernel::{
    ffi::{
        c_int,
        c_ulong, //
    },
    prelude::*,
    types::Opaque, //
};

klp::bindings!();

klp::livepatch! {
    name: "naive_asm_trampoline",
    authors: ["The livepatch cookbook"],
    description: "Redirect the callers of wrong assembly (wrong)",
    license: "GPL",
    objects: [
        "asm_target" { callbacks: NaiveRedirect, },
    ],
}

struct NaiveRedirect;

struct Probe(Opaque<bindings::kprobe>);

// SAFETY: Only the kernel accesses the probe, under `kprobe_mutex`.
unsafe impl Sync for Probe {}

// ANCHOR: naive
static PROBE: Probe = Probe(Opaque::new(bindings::kprobe {
    symbol_name: c"asm_target_checksum".as_ptr().cast(),
    pre_handler: Some(enter),
    // SAFETY: A kprobe of zeros is one that has nothing set.
    ..unsafe { core::mem::zeroed() }
}));

#[vtable]
impl klp::Callbacks for NaiveRedirect {
    fn post_patch(obj: &klp::Object) {
        // SAFETY: The probe is complete, and a static.
        let ret = unsafe { bindings::register_kprobe(PROBE.0.get()) };
        pr_info!("post_patch: {obj}: register_kprobe() says {ret}\n");
    }

    fn pre_unpatch(obj: &klp::Object) {
        pr_info!("pre_unpatch: {obj}\n");
        // SAFETY: The probe was registered, or refused, in which case the kernel ignores it.
        unsafe { bindings::unregister_kprobe(PROBE.0.get()) };
    }
}

/// Lets the caller go on in the replacement.
unsafe extern "C" fn enter(
    _probe: *mut bindings::kprobe,
    regs: *mut kernel::bindings::pt_regs,
) -> c_int {
    let new: unsafe extern "C" fn(*const u16, usize) -> u16 = checksum;
    // SAFETY: The registers are those of the caller, which is about to enter the routine.
    unsafe { (*regs).ip = new as c_ulong };
    1
}
// ANCHOR_END: naive

/// # Safety
///
/// There are `count` words at `words`.
unsafe extern "C" fn checksum(words: *const u16, count: usize) -> u16 {
    // SAFETY: The duty of this function.
    let words = unsafe { core::slice::from_raw_parts(words, count) };
    let mut sum = words.iter().map(|&word| u32::from(word)).sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

// SPDX-License-Identifier: GPL-2.0

//! The kernel's `livepatch-shadow-fix1.c`: what `livepatch_shadow_mod` allocates and forgets is kept in a shadow variable,
//! and freed.

mod leak;

use core::ptr;

use kernel::{
    bindings,
    ffi::c_int,
    prelude::*,
    time::msecs_to_jiffies, //
};
use leak::{
    dummy,
    Leak,
    LEAK, //
};

/// What the functions of this fix are called in the log.
const NAME: &str = "livepatch_fix1";

klp::livepatch! {
    type: Fix1,
    name: "livepatch_shadow_fix1",
    authors: ["The livepatch cookbook"],
    description: "Live patching demo for shadow variables, in Rust",
    license: "GPL",
    objects: [
        "livepatch_shadow_mod" {
            functions: [
                // SAFETY: The declarations are those of livepatch-shadow-mod.c; the callers rely on nothing but them.
                unsafe fn dummy_alloc() -> *mut dummy = alloc,
                // SAFETY: As above.
                unsafe fn dummy_free(*mut dummy) = free,
            ],
        },
    ],
}

struct Fix1;

impl klp::Livepatch for Fix1 {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

impl Drop for Fix1 {
    fn drop(&mut self) {
        // SAFETY: No replacement runs any more when the module goes.
        unsafe { LEAK.drop_and_free_all() };
    }
}

/// Replaces `dummy_alloc()`.
///
/// # Safety
///
/// None: the type of the original asks for the word.
unsafe extern "C" fn alloc() -> *mut dummy {
    new_dummy().unwrap_or(ptr::null_mut())
}

fn new_dummy() -> Result<*mut dummy> {
    let mut d = KBox::new(dummy::default(), GFP_KERNEL)?;
    // SAFETY: The clock is a number, which is read at once.
    let jiffies = unsafe { (&raw const bindings::jiffies).read_volatile() };
    d.jiffies_expire = jiffies.wrapping_add(msecs_to_jiffies(12 * 1000));
    let (at, expires) = (&raw const *d, d.jiffies_expire);
    // Patch: what the original forgets is kept, and freed with the variable.
    let memory = KBox::<c_int>::new(0, GFP_KERNEL)?;
    let leak = Leak {
        dummy: at.addr(),
        memory: KBox::into_raw(memory).expose_provenance(),
    };
    drop(LEAK.alloc(at, GFP_KERNEL, leak)?);
    pr_info!("{NAME}_dummy_alloc: dummy @ {at:p}, expires @ {expires:x}\n");
    Ok(KBox::into_raw(d))
}

/// Replaces `dummy_free()`.
///
/// # Safety
///
/// `d` must be of `dummy_alloc()`, and nobody may use it any more.
unsafe extern "C" fn free(d: *mut dummy) {
    // SAFETY: The duty of this function. kfree() frees it, as it does the original's.
    unsafe {
        leak::free_leak(d);
        drop(KBox::from_raw(d));
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The kernel's `livepatch-shadow-fix2.c`: over the first fix, a counter of the checks that each dummy went through, those
//! that are older than the livepatch included.

mod leak;

use kernel::{
    alloc::flags::GFP_NOWAIT,
    ffi::{
        c_int,
        c_ulong, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use klp::Shadow;
use leak::dummy;

/// What the functions of this fix are called in the log.
const NAME: &str = "livepatch_fix2";

/// As in the kernel's samples.
// SAFETY: This fix alone uses the id.
static COUNTER: Shadow<dummy, Atomic<c_int>> = unsafe { Shadow::new(2) };

klp::livepatch! {
    type: Fix2,
    name: "livepatch_shadow_fix2",
    authors: ["The livepatch cookbook"],
    description: "Live patching demo for shadow variables, in Rust",
    license: "GPL",
    objects: [
        "livepatch_shadow_mod" {
            functions: [
                // SAFETY: The declarations are those of livepatch-shadow-mod.c; the callers rely on nothing but them.
                unsafe fn dummy_check(*mut dummy, c_ulong) -> bool = check,
                // SAFETY: As above.
                unsafe fn dummy_free(*mut dummy) = free,
            ],
        },
    ],
}

struct Fix2;

impl klp::Livepatch for Fix2 {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

impl Drop for Fix2 {
    fn drop(&mut self) {
        COUNTER.free_all();
    }
}

/// Replaces `dummy_check()`.
///
/// # Safety
///
/// `d` must be a dummy, which stays as long as this runs.
unsafe extern "C" fn check(d: *mut dummy, jiffies: c_ulong) -> bool {
    if let Ok(count) = COUNTER.get_or_alloc(d, GFP_NOWAIT, Atomic::new(0)) {
        count.fetch_add(1, Relaxed);
    }
    // SAFETY: The duty of this function.
    let expires = unsafe { (*d).jiffies_expire };
    // time_after(): the clock may wrap.
    (expires.wrapping_sub(jiffies) as isize) < 0
}

/// Replaces `dummy_free()`.
///
/// # Safety
///
/// `d` must be of `dummy_alloc()`, and nobody may use it any more.
unsafe extern "C" fn free(d: *mut dummy) {
    // SAFETY: The duty of this function.
    unsafe { leak::free_leak(d) };
    if let Some(count) = COUNTER.get(d).map(|count| count.load(Relaxed)) {
        pr_info!("{NAME}_dummy_free: dummy @ {d:p}, check counter = {count}\n");
        COUNTER.free(d);
    }
    // SAFETY: The duty of this function. kfree() frees it, as it does the original's.
    drop(unsafe { KBox::from_raw(d) });
}

// SPDX-License-Identifier: GPL-2.0

//! The memory that `livepatch_shadow_mod` forgets, kept in a shadow variable which both fixes know.

use kernel::{
    bindings::list_head,
    ffi::{
        c_int,
        c_ulong, //
    },
    prelude::*, //
};

use klp::Shadow;

use crate::NAME;

/// As in the file that livepatch-shadow-mod.c is: it has no header.
#[allow(non_camel_case_types)]
#[derive(Default)]
#[repr(C)]
pub(crate) struct dummy {
    pub(crate) list: list_head,
    pub(crate) jiffies_expire: c_ulong,
}

/// As in the kernel's samples.
// SAFETY: The fixes of that module alone use the id, and all of ours have the same `Leak` in it.
pub(crate) static LEAK: Shadow<dummy, Leak> = unsafe { Shadow::new(1) };

klp::fixed_layout! {
    /// What was allocated beside a dummy. It is freed with the variable.
    pub(crate) struct Leak {
        pub(crate) dummy: usize,
        pub(crate) memory: usize,
    }
}

impl Drop for Leak {
    fn drop(&mut self) {
        let memory = core::ptr::with_exposed_provenance_mut::<c_int>(self.memory);
        let d = self.dummy as *const dummy;
        pr_info!("{NAME}_dummy_leak_dtor: dummy @ {d:p}, prevented leak @ {memory:p}\n");
        // SAFETY: The first fix has allocated it so, and nobody else frees it.
        drop(unsafe { KBox::from_raw(memory) });
    }
}

/// Frees `d` as `dummy_free()` does, and what was allocated beside it where that is known: a dummy that is older than the
/// livepatch has no variable.
///
/// # Safety
///
/// `d` must be a dummy that nobody uses any more.
pub(crate) unsafe fn free_leak(d: *mut dummy) {
    if LEAK.get(d).is_some() {
        // SAFETY: The duty of this function: whoever looks for a variable has the dummy.
        unsafe { LEAK.drop_and_free(d) };
    } else {
        pr_info!("{NAME}_dummy_free: dummy @ {d:p} leaked!\n");
    }
}

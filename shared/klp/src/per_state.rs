// SPDX-License-Identifier: GPL-2.0

//! Callbacks of states instead of objects, for a kernel that has `struct klp_state_callbacks`.
//!
//! Those of `vmlinux` become the callbacks of the state that the patch lists: they run when the patch brings or takes it, and
//! not when another patch has it too. Where the patch lists none, klp adds one that no other patch has, and they run whenever
//! the patch is enabled, disabled or replaced.
//!
//! Proposal: <https://lore.kernel.org/r/20250115082431.5550-1-pmladek@suse.com>

use core::{
    cell::UnsafeCell,
    mem::zeroed, //
};

use kernel::ffi::{
    c_int,
    c_ulong, //
};

use crate::bindings::{
    klp_callbacks,
    klp_object,
    klp_patch,
    klp_state,
    klp_state_callbacks, //
};

/// The callbacks of `vmlinux`, and the patch's own state.
pub(crate) struct OfVmlinux {
    callbacks: klp_callbacks,
    own: UnsafeCell<[klp_state; 2]>,
}

/// What a [`Patch`](crate::patch::Patch) begins with.
#[repr(C)]
struct Head {
    patch: UnsafeCell<klp_patch>,
    vmlinux: OfVmlinux,
}

impl OfVmlinux {
    pub(crate) const fn new(callbacks: klp_callbacks) -> Self {
        Self {
            callbacks,
            // SAFETY: All fields are integers, booleans and nullable pointers.
            own: UnsafeCell::new(unsafe { zeroed() }),
        }
    }

    /// Refuses callbacks that the states `S`, with the one that ends them, cannot have.
    pub(crate) const fn check_states<S>(&self) {
        assert!(
            !self.callbacks.post_unpatch_enabled,
            "`as` and `redirects` need a state of their own, so that the patch can list none"
        );
        assert!(
            !has_any(&self.callbacks) || size_of::<S>() == size_of::<[klp_state; 2]>(),
            "callbacks are those of the state, so that the patch can list only one"
        );
    }

    /// Gives the callbacks to a state of `patch`.
    ///
    /// # Safety
    ///
    /// `patch` must point to the [`Patch`](crate::patch::Patch) that `self` is a part of, and not be enabled yet.
    pub(crate) unsafe fn attach(&'static self, patch: *mut klp_patch) {
        let all = &self.callbacks;
        if !has_any(all) {
            return;
        }
        // SAFETY: By the duty of this function nobody else knows the patch and its states, which are statics with interior
        // mutability.
        unsafe {
            if (*patch).states.is_null() {
                let own = self.own.get().cast::<klp_state>();
                // An address is no other module's at the same time, and no id that anybody has chosen.
                (*own).id = own as c_ulong;
                (*patch).states = own;
            }
            (*(*patch).states).callbacks = klp_state_callbacks {
                pre_patch: all.pre_patch.and(Some(pre_patch)),
                post_patch: all.post_patch.and(Some(post_patch)),
                pre_unpatch: all.pre_unpatch.and(Some(pre_unpatch)),
                post_unpatch: all.post_unpatch.and(Some(post_unpatch)),
                ..zeroed()
            };
        }
    }
}

/// Refuses callbacks of a module's object: the core calls none when a module is loaded or removed.
pub(crate) const fn check_object(object: &klp_object, callbacks: &klp_callbacks) {
    assert!(
        object.name.is_null() || !has_any(callbacks),
        "this kernel has callbacks of states, none of modules; `as` and `redirects` need such, too"
    );
}

const fn has_any(all: &klp_callbacks) -> bool {
    all.pre_patch.is_some()
        || all.post_patch.is_some()
        || all.pre_unpatch.is_some()
        || all.post_unpatch.is_some()
}

/// The callbacks of `vmlinux`, and that object.
///
/// # Safety
///
/// `patch` must be what the core passes to a callback of a patch of this crate.
unsafe fn of_vmlinux<'a>(patch: *mut klp_patch) -> (&'a klp_callbacks, *mut klp_object) {
    // SAFETY: `attach` was given a pointer to the whole, which begins with a `Head`. One of the objects has no name: with
    // callbacks it is the only one.
    unsafe {
        let mut object = (*patch).objs;
        while !(*object).name.is_null() {
            object = object.add(1);
        }
        (&(*patch.cast::<Head>()).vmlinux.callbacks, object)
    }
}

// The callbacks of a state. The duty of each: `patch` is what the core passes.

unsafe extern "C" fn pre_patch(patch: *mut klp_patch, _state: *mut klp_state) -> c_int {
    // SAFETY: The duty of the callbacks.
    let (callbacks, object) = unsafe { of_vmlinux(patch) };
    // SAFETY: As above; `klp_mutex` is held, and the kernel itself is always loaded.
    callbacks.pre_patch.map_or(0, |f| unsafe { f(object) })
}

/// One that returns nothing.
macro_rules! callback {
    ($name:ident) => {
        unsafe extern "C" fn $name(patch: *mut klp_patch, _state: *mut klp_state) {
            // SAFETY: The duty of the callbacks.
            let (callbacks, object) = unsafe { of_vmlinux(patch) };
            if let Some(f) = callbacks.$name {
                // SAFETY: As in `pre_patch`.
                unsafe { f(object) };
            }
        }
    };
}

callback!(post_patch);
callback!(pre_unpatch);
callback!(post_unpatch);

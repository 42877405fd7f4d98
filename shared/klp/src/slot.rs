// SPDX-License-Identifier: GPL-2.0

//! Where a patch keeps its state between the pre-patch and the post-unpatch callback.

use core::ops::Deref;

use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu, //
    },
};

/// Holds the state of one object while that object is patched.
///
/// The pre-patch callback fills the slot, the post-unpatch callback empties it, as often as the target comes and goes.
/// Callbacks are serialized by `klp_mutex`; replacement functions read the slot at any time through [`Slot::read`].
///
/// # Invariants
///
/// The pointer is null or comes from [`KBox::into_raw`] and is owned by the slot.
#[repr(transparent)]
pub struct Slot<S: Send + Sync + 'static>(Atomic<*mut S>);

impl<S: Send + Sync + 'static> Slot<S> {
    /// An empty slot.
    pub const fn new() -> Self {
        // INVARIANT: The pointer is null.
        Self(Atomic::new(core::ptr::null_mut()))
    }

    /// The state as a replacement function sees it, or `None` while the object is not patched.
    ///
    /// Runs in any context in which [`rcu_read_lock()`] is allowed. The reference holds an RCU read-side critical section:
    /// **the caller must not sleep while it lives**. This is what keeps the state in place when a transition was forced
    /// and a task still runs replaced code while the post-unpatch callback takes the state away.
    ///
    /// A replacement may find the slot full before the post-patch callback has run, and empty in a forced transition.
    ///
    /// [`rcu_read_lock()`]: srctree/include/linux/rcupdate.h
    pub fn read(&self) -> Option<StateRef<'_, S>> {
        let guard = rcu::read_lock();
        // Pairs with the release store in `fill`: the content is visible before the pointer is.
        let ptr = self.0.load(Acquire);
        // SAFETY: By the type invariant a pointer that is not null is valid until `take` has waited for a grace
        // period, which cannot end before `guard` is dropped.
        unsafe { ptr.as_ref() }.map(|state| StateRef {
            state,
            _guard: guard,
        })
    }

    /// The state as a callback sees it.
    ///
    /// # Safety
    ///
    /// The caller must be a callback of this slot's object, or otherwise exclude [`Slot::take`] for `'a`.
    pub(crate) unsafe fn get<'a>(&self) -> Option<Pin<&'a S>> {
        // SAFETY: By the type invariant the pointer is null or valid; by the duty of this function nobody takes the
        // state away for `'a`. `S` stays pinned: it never leaves its box.
        unsafe { self.0.load(Relaxed).as_ref().map(|s| Pin::new_unchecked(s)) }
    }

    /// Puts the state in.
    pub(crate) fn fill(&self, state: Pin<KBox<S>>) {
        // SAFETY: The slot treats the state as pinned until `take` hands it out pinned again.
        let state = unsafe { Pin::into_inner_unchecked(state) };
        // INVARIANT: The pointer comes from `KBox::into_raw`. The slot is empty: the core calls no second
        // pre-patch callback for an object without its post-unpatch callback in between.
        self.0.store(KBox::into_raw(state), Release);
    }

    /// Takes the state out, after every reader has gone. Sleeps for an RCU grace period when there is one.
    pub(crate) fn take(&self) -> Option<Pin<KBox<S>>> {
        let ptr = self.0.xchg(core::ptr::null_mut(), Relaxed);
        if ptr.is_null() {
            return None;
        }
        // SAFETY: All callers run in process context and may sleep.
        unsafe { bindings::synchronize_rcu() };
        // SAFETY: By the type invariant the pointer comes from `KBox::into_raw`; it is out of the slot, and after the
        // grace period no `StateRef` refers to it.
        Some(Pin::from(unsafe { KBox::from_raw(ptr) }))
    }
}

impl<S: Send + Sync + 'static> Default for Slot<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// Shared access to the state of an object, inside an RCU read-side critical section: do not sleep while it lives.
pub struct StateRef<'a, S> {
    state: &'a S,
    _guard: rcu::Guard,
}

impl<S> Deref for StateRef<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        self.state
    }
}

// SPDX-License-Identifier: GPL-2.0

//! System states: what one livepatch changed, told to the next.
//!
//! A patch lists under `states` of [`livepatch!`](crate::livepatch!) each lasting change that it makes to the system, by an
//! id and a version, with data to revert it. The core refuses a patch that would lose one: a cumulative patch
//! must list every state that is in force, and none may come with a lower version (so that a downgrade fails with `EINVAL`).
//!
//! # The life of the data
//!
//! Where the data implements [`SystemChange`](crate::SystemChange) and `vmlinux` lists the state as its `change`, the
//! callbacks are there already. By hand:
//!
//! | callback       | nobody had changed it before      | a patch that is replaced had          |
//! |----------------|-----------------------------------|---------------------------------------|
//! | `pre_patch`    | allocate, [`fill`]                | nothing: it may still be reversed     |
//! | `post_patch`   | change the system                 | [`take`](PreviousState::take), `fill` |
//! | `pre_unpatch`  | revert the change                 | revert the change                     |
//! | `post_unpatch` | [`take`](SystemState::take), drop | nothing if reversed: there is no data |
//!
//! [`fill`]: SystemState::fill
//!
//! [`previous`](SystemState::previous) tells the two columns apart. The data is not freed with the module, because under
//! atomic replace it may have passed to a successor, in Rust or C: what nobody takes is leaked.
//!
//! Specification: `Documentation/livepatch/system-state.rst`.
//! C header: [`include/linux/livepatch.h`](srctree/include/linux/livepatch.h)

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::RangeInclusive,
    ptr::NonNull, //
};

use kernel::{
    ffi::{
        c_uint,
        c_ulong, //
    },
    prelude::*, //
};

use crate::{
    bindings,
    slot::Slot,
    FixedLayout,
    Object,
    StateRef, //
};

/// The data of a system state: what the patches of one family keep in some versions of it.
///
/// In a file that all of these patches share, so that one takes the data of another for what it is.
///
/// # Safety
///
/// Every patch that lists the state [`ID`](StateData::ID) in one of the [`VERSIONS`](StateData::VERSIONS) must keep a `Self`
/// in its data, in memory from `kmalloc()`, and neither read it without RCU nor free it once the patch is being replaced.
pub unsafe trait StateData: FixedLayout + Send + Sync + Sized + 'static {
    /// The state.
    const ID: usize;

    /// Its versions with this data.
    const VERSIONS: RangeInclusive<u32>;
}

/// A system state that the patch modifies, with its data: `struct klp_state`.
///
/// [`livepatch!`](crate::livepatch!) declares it. The data is a box of `T`, which to a C patch is a pointer from `kmalloc()`.
///
/// # Invariants
///
/// `data` is null or comes from [`KBox::into_raw`] and is owned by the state.
#[repr(transparent)]
pub struct SystemState<T: FixedLayout + Send + Sync + 'static>(
    UnsafeCell<bindings::klp_state>,
    PhantomData<T>,
);

// SAFETY: `id` and `version` are never written, `data` only by the atomic accesses of `Slot`.
unsafe impl<T: FixedLayout + Send + Sync + 'static> Sync for SystemState<T> {}

impl<T: FixedLayout + Send + Sync + 'static> SystemState<T> {
    /// The state `id`, which must not be 0, in this `version`.
    #[doc(hidden)]
    pub const fn new(id: c_ulong, version: c_uint) -> Self {
        assert!(id != 0, "the id of a system state must not be 0");
        // INVARIANT: There is no data.
        let raw = raw_state(id, version);
        #[cfg(klp_state_callbacks)]
        let raw = bindings::klp_state {
            is_shadow: size_of::<T>() != 0,
            ..raw
        };
        Self(UnsafeCell::new(raw), PhantomData)
    }

    /// The version of this patch.
    pub fn version(&self) -> u32 {
        // SAFETY: The field is never written.
        unsafe { version_of(self.0.get()) }
    }

    /// The data, or `None` while this patch has none. For replacement functions and callbacks alike.
    ///
    /// The reference holds an RCU read-side critical section: **the caller must not sleep, nor fill or take the data, while
    /// it lives**.
    pub fn read(&self) -> Option<StateRef<'_, T>> {
        // Where the slot is in a shadow variable, until the reference holds a section of its own.
        #[cfg(klp_state_callbacks)]
        let _guard = kernel::sync::rcu::read_lock();
        self.slot()?.read()
    }

    /// Puts the data in; what was there before is dropped after a grace period of RCU. May sleep.
    ///
    /// A pre-patch callback that fails afterwards must [`take`](SystemState::take) the data itself: no other callback of that
    /// object runs.
    pub fn fill(&self, obj: &Object, data: impl Into<Pin<KBox<T>>>) {
        // A callback is running, so `klp_mutex` serializes this with every other `fill` and `take`.
        drop(self.take(obj));
        #[cfg(klp_state_callbacks)]
        self.make_slot();
        if let Some(slot) = self.slot() {
            slot.fill(data.into());
        }
    }

    /// Takes the data out, after its readers have gone. Sleeps for a grace period of RCU when there is data.
    pub fn take(&self, _obj: &Object) -> Option<Pin<KBox<T>>> {
        self.slot()?.take()
    }

    /// The same state in the latest patch that was enabled before this one: `klp_get_prev_state()`.
    ///
    /// `None` also when the transition that runs *disables* this patch, unless patches stay enabled below it. For the
    /// callbacks of `vmlinux`, in this patch's own transition: those of a module run outside of transitions too, when the
    /// module is loaded or removed, where the core warns and finds nothing; and during another patch's transition it
    /// may find *this* patch's own state, from which `take()` would then take.
    pub fn previous<'a>(&self, _obj: &'a Object) -> Option<PreviousState<'a>> {
        // SAFETY: `id` is never written.
        let id = unsafe { (*self.0.get()).id };
        // SAFETY: The list of patches is guarded by `klp_mutex`, which a callback holds.
        let raw = NonNull::new(unsafe { bindings::klp_get_prev_state(id) })?;
        // INVARIANT: A patch leaves the list, and its module the memory, only after the callback.
        Some(PreviousState(raw, PhantomData))
    }

    pub(crate) fn slot(&self) -> Option<&Slot<T>> {
        // SAFETY: `self` is valid.
        unsafe { slot_of(self.0.get()) }
    }

    /// Makes the shadow variable that the slot is in. The core frees it with the state.
    #[cfg(klp_state_callbacks)]
    fn make_slot(&self) {
        let flags = kernel::bindings::GFP_KERNEL | 1 << kernel::bindings::___GFP_NOFAIL_BIT;
        // SAFETY: `id` is never written. The memory is zeroed, which is an empty slot.
        unsafe {
            bindings::klp_shadow_get_or_alloc(
                core::ptr::null_mut(),
                (*self.0.get()).id,
                size_of::<Slot<T>>(),
                flags,
                None,
                core::ptr::null_mut(),
            )
        };
    }
}

/// A system state of a patch that is being replaced, or lies below.
///
/// # Invariants
///
/// The state belongs to a patch that stays installed for `'a`, while `klp_mutex` is held.
pub struct PreviousState<'a>(NonNull<bindings::klp_state>, PhantomData<&'a Object>);

impl PreviousState<'_> {
    /// The version of that patch; never above the version of the patch in transition.
    pub fn version(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { version_of(self.0.as_ptr()) }
    }

    /// Takes the data over from that patch, which is left without. `None` if it has none, or other data than a `U` in its
    /// version. Sleeps for a grace period of RCU.
    ///
    /// For the post-patch callback: earlier the transition may still be reversed, and that patch needs its data.
    pub fn take<U: StateData>(&self) -> Option<Pin<KBox<U>>> {
        // SAFETY: By the type invariant.
        let id = unsafe { self.0.as_ref().id };
        if id != U::ID || !U::VERSIONS.contains(&self.version()) {
            return None;
        }
        // SAFETY: By the type invariant the state is valid; by the contract of `StateData` its data is a box of `U`.
        unsafe { slot_of::<U>(self.0.as_ptr()) }?.take()
    }
}

/// A state without data.
#[cfg(not(klp_state_callbacks))]
const fn raw_state(id: c_ulong, version: c_uint) -> bindings::klp_state {
    bindings::klp_state {
        id,
        version,
        data: core::ptr::null_mut(),
    }
}

/// A state without data. There are no versions: each is a state of its own, the first that of the id itself.
#[cfg(klp_state_callbacks)]
const fn raw_state(id: c_ulong, version: c_uint) -> bindings::klp_state {
    assert!(
        id >> 32 == 0,
        "the id of a system state must have 32 bits: the version is above them"
    );
    bindings::klp_state {
        id: id | ((version ^ 1) as c_ulong) << 32,
        // SAFETY: All fields are integers, booleans and nullable pointers.
        ..unsafe { core::mem::zeroed() }
    }
}

/// The version of a state.
///
/// # Safety
///
/// `state` must be valid.
#[cfg(not(klp_state_callbacks))]
unsafe fn version_of(state: *const bindings::klp_state) -> u32 {
    // SAFETY: By the duty of this function; the field is never written.
    unsafe { (*state).version }
}

/// The version of a state, which [`raw_state`] has put into its id.
///
/// # Safety
///
/// `state` must be valid.
#[cfg(klp_state_callbacks)]
unsafe fn version_of(state: *const bindings::klp_state) -> u32 {
    // SAFETY: By the duty of this function; the field is never written.
    (unsafe { (*state).id } >> 32) as u32 ^ 1
}

/// The data of a state in the form of a slot.
///
/// # Safety
///
/// `state` must be valid for `'a`, and its data null or a box of `T` that the state owns.
#[cfg(not(klp_state_callbacks))]
unsafe fn slot_of<'a, T: FixedLayout + Send + Sync + 'static>(
    state: *mut bindings::klp_state,
) -> Option<&'a Slot<T>> {
    // SAFETY: By the duty of this function; `Slot` is a transparent wrapper of an atomic pointer.
    Some(unsafe { &*(&raw mut (*state).data).cast() })
}

/// The data of a state in the form of a slot, which is in a shadow variable of the state's id and of no object.
///
/// # Safety
///
/// `state` must be valid, and its shadow variable be that of states with data of `T`. A callback must be running for `'a`, or
/// an RCU read-side critical section.
#[cfg(klp_state_callbacks)]
unsafe fn slot_of<'a, T: FixedLayout + Send + Sync + 'static>(
    state: *mut bindings::klp_state,
) -> Option<&'a Slot<T>> {
    // SAFETY: By the duty of this function: the core frees the variable behind the last callback, after a grace period.
    unsafe {
        bindings::klp_shadow_get(core::ptr::null_mut(), (*state).id)
            .cast::<Slot<T>>()
            .as_ref()
    }
}

/// The entry that ends a table of states.
#[doc(hidden)]
#[repr(transparent)]
pub struct StatesEnd(bindings::klp_state);

// SAFETY: Nobody writes to it.
unsafe impl Sync for StatesEnd {}

impl StatesEnd {
    /// The entry.
    #[doc(hidden)]
    pub const END: Self = Self(raw_state(0, 1));
}

/// The states of a patch; [`livepatch!`](crate::livepatch!) implements it.
///
/// # Safety
///
/// The type must be in C layout and consist of [`SystemState`]s and, in the end, [`StatesEnd`].
#[doc(hidden)]
pub unsafe trait StateTable: Sync + 'static {}

// SPDX-License-Identifier: GPL-2.0

//! A kernel probe for as long as a module is loaded.

use kernel::{
    error::to_result,
    ffi::c_int,
    prelude::*,
    types::Opaque, //
};

use crate::bindings;

/// A kind of probe, and the kernel's functions for it.
pub(crate) trait Kind {
    const REGISTER: unsafe extern "C" fn(*mut Self) -> c_int;
    const UNREGISTER: unsafe extern "C" fn(*mut Self);
}

impl Kind for bindings::kprobe {
    const REGISTER: unsafe extern "C" fn(*mut Self) -> c_int = bindings::register_kprobe;
    const UNREGISTER: unsafe extern "C" fn(*mut Self) = bindings::unregister_kprobe;
}

impl Kind for bindings::kretprobe {
    const REGISTER: unsafe extern "C" fn(*mut Self) -> c_int = bindings::register_kretprobe;
    const UNREGISTER: unsafe extern "C" fn(*mut Self) = bindings::unregister_kretprobe;
}

/// A kprobe of the kernel, or a kretprobe.
///
/// # Invariants
///
/// The probe is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct Probe<K: Kind = bindings::kprobe> {
    #[pin]
    raw: Opaque<K>,
}

// SAFETY: Only the kprobes core accesses the probe, under its own locks.
unsafe impl<K: Kind> Send for Probe<K> {}
// SAFETY: As for `Send`.
unsafe impl<K: Kind> Sync for Probe<K> {}

impl<K: Kind> Probe<K> {
    /// Registers `probe`, whose handlers are the module's own.
    pub(crate) fn register(probe: K) -> impl PinInit<Self, Error> {
        // INVARIANT: The initializer fails when the probe cannot be registered.
        try_pin_init!(Self {
            raw <- Opaque::try_ffi_init(move |slot: *mut K| {
                // SAFETY: The slot is valid for a write.
                unsafe { slot.write(probe) };
                // SAFETY: The probe is complete, and pinned until `drop` unregisters it.
                to_result(unsafe { K::REGISTER(slot) })
            }),
        })
    }
}

#[pinned_drop]
impl<K: Kind> PinnedDrop for Probe<K> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the probe is registered.
        unsafe { K::UNREGISTER(self.raw.get()) };
    }
}

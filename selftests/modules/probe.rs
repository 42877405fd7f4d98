// SPDX-License-Identifier: GPL-2.0

//! A kernel probe for as long as a module is loaded.

use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

use crate::bindings;

/// A kprobe of the kernel.
///
/// # Invariants
///
/// The probe is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct Probe {
    #[pin]
    raw: Opaque<bindings::kprobe>,
}

// SAFETY: Only the kprobes core accesses the probe, under its own locks.
unsafe impl Send for Probe {}
// SAFETY: As for `Send`.
unsafe impl Sync for Probe {}

impl Probe {
    /// Registers `probe`, whose handlers are the module's own.
    pub(crate) fn register(probe: bindings::kprobe) -> impl PinInit<Self, Error> {
        // INVARIANT: The initializer fails when the probe cannot be registered.
        try_pin_init!(Self {
            raw <- Opaque::try_ffi_init(move |slot: *mut bindings::kprobe| {
                // SAFETY: The slot is valid for a write.
                unsafe { slot.write(probe) };
                // SAFETY: The probe is complete, and pinned until `drop` unregisters it.
                to_result(unsafe { bindings::register_kprobe(slot) })
            }),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Probe {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the probe is registered.
        unsafe { bindings::unregister_kprobe(self.raw.get()) };
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Puts a kprobe where another module livepatches.

use kernel::{
    error::to_result,
    ffi::c_ulong,
    prelude::*,
    types::Opaque, //
};

klp::bindings!();

module! {
    type: Probe,
    name: "test_klp_kprobe",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a kprobe on a function that is patched",
    license: "GPL",
}

klp::param! {
    static HAS_POST_HANDLER("has_post_handler"): bool = true, 0o444,
    "with a post-handler the probe claims to change the instruction pointer, as a livepatch does (default=true)"
}

/// A kprobe on `cmdline_proc_show`.
///
/// # Invariants
///
/// The probe is registered.
#[pin_data(PinnedDrop)]
struct Probe {
    #[pin]
    raw: Opaque<bindings::kprobe>,
}

// SAFETY: Only the kprobes core accesses the probe, under its own locks.
unsafe impl Send for Probe {}
// SAFETY: As for `Send`.
unsafe impl Sync for Probe {}

impl kernel::InPlaceModule for Probe {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let probe = bindings::kprobe {
            symbol_name: c"cmdline_proc_show".as_char_ptr(),
            post_handler: HAS_POST_HANDLER.get().then_some(post_handler),
            ..Default::default()
        };
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

unsafe extern "C" fn post_handler(
    _probe: *mut bindings::kprobe,
    _regs: *mut bindings::pt_regs,
    _flags: c_ulong,
) {
}

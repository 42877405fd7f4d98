// SPDX-License-Identifier: GPL-2.0

//! Puts a kprobe where another module livepatches.

mod probe;

use kernel::{
    ffi::c_ulong,
    prelude::*, //
};
use probe::Probe;

klp::bindings!();

module! {
    type: OnCmdline,
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
#[pin_data]
struct OnCmdline {
    #[pin]
    _probe: Probe,
}

impl kernel::InPlaceModule for OnCmdline {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _probe <- Probe::register(bindings::kprobe {
                symbol_name: c"cmdline_proc_show".as_char_ptr(),
                post_handler: HAS_POST_HANDLER.get().then_some(post_handler),
                ..Default::default()
            }),
        })
    }
}

unsafe extern "C" fn post_handler(
    _probe: *mut bindings::kprobe,
    _regs: *mut bindings::pt_regs,
    _flags: c_ulong,
) {
}

// SPDX-License-Identifier: GPL-2.0

//! Lets one call of a kernel function fail: the kernel's `fail_function`, for functions that are not declared for it.
//!
//! Only calls by tasks count that asked for it, by `/proc/self/make-it-fail`. The function must return an integer or a
//! pointer, and take its arguments in registers. Its caller sees what it would see if the function had done nothing and
//! failed, so choose a value that the function really returns.

mod probe;

use kernel::{
    ffi::{
        c_int,
        c_long,
        c_ulong, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use probe::Probe;

klp::bindings!();

module! {
    type: FailCall,
    name: "fail_call",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: one call of a kernel function fails",
    license: "GPL",
}

klp::param! {
    static ADDRESS("address"): usize = 0, 0o400, "where the function begins, as in /proc/kallsyms"
}
klp::param! {
    static RETVAL("retval"): i32 = -12, 0o444, "what it answers instead of doing anything"
}
klp::param! {
    static NTH("nth"): u32 = 1, 0o444, "which call fails, from 1 on; with 0 calls are only counted"
}

/// How many calls there were.
static CALLS: Atomic<u32> = Atomic::new(0);

#[pin_data(PinnedDrop)]
struct FailCall {
    #[pin]
    _probe: Probe,
}

impl kernel::InPlaceModule for FailCall {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _probe <- Probe::register(bindings::kprobe {
                addr: ADDRESS.get() as *mut bindings::kprobe_opcode_t,
                pre_handler: Some(enter),
                // A probe without one may become a jump, and what that leads to ignores the instruction pointer.
                post_handler: Some(keep_breakpoint),
                ..Default::default()
            }),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for FailCall {
    fn drop(self: Pin<&mut Self>) {
        pr_info!("calls: {}\n", CALLS.load(Relaxed));
    }
}

/// Takes the place of the call that fails.
extern "C" fn answer() -> c_long {
    RETVAL.get() as c_long
}

/// # Safety
///
/// As a kprobe's `pre_handler`, on the first instruction of a function as the module's documentation asks for.
unsafe extern "C" fn enter(_probe: *mut bindings::kprobe, regs: *mut bindings::pt_regs) -> c_int {
    // SAFETY: The current task exists while it runs; only itself and its `/proc` file write the field, as a whole.
    if unsafe { (&raw const (*current!().as_ptr()).make_it_fail).read_volatile() } == 0 {
        return 0;
    }
    if CALLS.fetch_add(1, Relaxed) + 1 != NTH.get() {
        return 0;
    }
    // SAFETY: The registers are those of the caller, which is about to enter the function.
    unsafe { (*regs).ip = answer as *const () as c_ulong };
    // The registers are set: do not run the probed instruction.
    1
}

/// Does nothing; it is enough that it is there.
extern "C" fn keep_breakpoint(
    _probe: *mut bindings::kprobe,
    _regs: *mut bindings::pt_regs,
    _flags: c_ulong,
) {
}

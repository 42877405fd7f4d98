// SPDX-License-Identifier: GPL-2.0

//! The console's log level, which the state modules change, and what each of them must agree on.
//!
//! C header: [`include/linux/printk.h`](srctree/include/linux/printk.h)

use core::ops::RangeInclusive;

use kernel::{
    bindings,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The id of the system state "console log level" in every version.
pub(crate) const STATE: usize = 1;

klp::fixed_layout! {
    /// The data of the state in every version: what the level was.
    pub(crate) struct Saved(Atomic<i32>);
}

impl Saved {
    pub(crate) fn new() -> Self {
        Self(Atomic::new(0))
    }
}

// SAFETY: All that use the id are built with this file.
unsafe impl klp::StateData for Saved {
    const ID: usize = STATE;
    const VERSIONS: RangeInclusive<u32> = 1..=2;
}

/// `console_loglevel`
pub(crate) fn console_loglevel() -> &'static Atomic<i32> {
    // SAFETY: The first number of a static array of the kernel, which all read and write by single accesses.
    unsafe { Atomic::from_ptr((&raw mut bindings::console_printk).cast()) }
}

/// Keeps what the level is in `saved` and lets everything through to the console.
pub(crate) fn fix(saved: &Saved) {
    let all = bindings::CONSOLE_LOGLEVEL_MOTORMOUTH as i32;
    saved
        .0
        .store(console_loglevel().xchg(all, Relaxed), Relaxed);
}

/// Gives back what the level was.
pub(crate) fn restore(saved: &Saved) {
    console_loglevel().store(saved.0.load(Relaxed), Relaxed);
}

// SPDX-License-Identifier: GPL-2.0

//! The console's log level, which the state modules change, and what each of them must agree on.
//!
//! C header: [`include/linux/printk.h`](srctree/include/linux/printk.h)

use kernel::{
    bindings,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The id of the system state "console log level" in every version.
pub(crate) const STATE: usize = 1;

/// The data of the state in every version: what the level was.
pub(crate) type Saved = Atomic<i32>;

/// `console_loglevel`
pub(crate) fn console_loglevel() -> &'static Atomic<i32> {
    // SAFETY: The first number of a static array of the kernel, which all read and write by single accesses.
    unsafe { Atomic::from_ptr((&raw mut bindings::console_printk).cast()) }
}

/// Keeps what the level is in `saved` and lets everything through to the console.
pub(crate) fn fix(saved: &Saved) {
    let all = bindings::CONSOLE_LOGLEVEL_MOTORMOUTH as i32;
    saved.store(console_loglevel().xchg(all, Relaxed), Relaxed);
}

/// Gives back what the level was.
pub(crate) fn restore(saved: &Saved) {
    console_loglevel().store(saved.load(Relaxed), Relaxed);
}

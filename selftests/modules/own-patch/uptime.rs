// SPDX-License-Identifier: GPL-2.0

// ANCHOR: file
//! The parts of fs/proc/uptime.c that both versions of the patch need, each call wrapped once.

#![allow(dead_code)] // version 1 uses a part of it

use crate::bindings;

/// A length of time, as `/proc/uptime` prints it.
pub(crate) struct Time {
    pub(crate) seconds: u64,
    pub(crate) hundredths: u64,
}

impl Time {
    fn from_ns(ns: u64) -> Self {
        Self {
            seconds: ns / 1_000_000_000,
            hundredths: ns % 1_000_000_000 / 10_000_000,
        }
    }
}

// ANCHOR: wrappers
/// How long the system is up. Process context.
pub(crate) fn uptime() -> Time {
    // SAFETY: Reads a clock; the current task has namespaces while it is in a system call.
    Time::from_ns(unsafe { bindings::uptime_ns() })
}

/// How long all CPUs together were idle. Any context.
pub(crate) fn idle() -> Time {
    // SAFETY: Reads counters.
    Time::from_ns(unsafe { bindings::idle_ns() })
}
// ANCHOR_END: wrappers

/// Whether whoever opened `seq` has `CAP_SYS_ADMIN`.
///
/// # Safety
///
/// `seq` must be an open file.
pub(crate) unsafe fn opened_by_admin(seq: *mut bindings::seq_file) -> bool {
    // SAFETY: The duty of this function.
    unsafe { bindings::opened_by_admin(seq) }
}
// ANCHOR_END: file

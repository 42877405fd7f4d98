// SPDX-License-Identifier: GPL-2.0

//! The limits of socket buffers, and what every patch of this family must agree on.
//!
//! C header: [`include/net/sock.h`](srctree/include/net/sock.h)

#![allow(dead_code)] // version 1 uses a part of it

use core::ops::RangeInclusive;

use kernel::sync::atomic::Atomic;
use klp::Saved;

use crate::bindings;

// ANCHOR: agreed
/// The id of the system state "socket buffer limits" in every version: "sock".
pub(crate) const STATE: usize = 0x736f_636b;

klp::fixed_layout! {
    /// The data of the state in version 1.
    #[derive(Default)]
    pub(crate) struct V1 {
        pub(crate) rmem_max: Saved<u32>,
    }
}

klp::fixed_layout! {
    /// The data of the state in version 2.
    #[derive(Default)]
    pub(crate) struct V2 {
        pub(crate) rmem_max: Saved<u32>,
        pub(crate) wmem_max: Saved<u32>,
    }
}

// SAFETY: No other family of patches uses the id, and version 1 of this one is built with this file.
unsafe impl klp::StateData for V1 {
    const ID: usize = STATE;
    const VERSIONS: RangeInclusive<u32> = 1..=1;
}

// SAFETY: As for `V1`, and version 2 is the last one.
unsafe impl klp::StateData for V2 {
    const ID: usize = STATE;
    const VERSIONS: RangeInclusive<u32> = 2..=2;
}
// ANCHOR_END: agreed

// ANCHOR: limit
/// The default of many years, in bytes, and that of today.
const OLD: u32 = 212_992;
const FIXED: u32 = 4 << 20;

/// Raises `limit` to 4 MB. Any value but the old default is an administrator's choice and stays, a lower one, too.
pub(crate) fn raise(saved: &Saved<u32>, limit: &Atomic<u32>) {
    saved.change(limit, OLD, FIXED); // FIX: the default of a kernel that is up
}
// ANCHOR_END: limit

/// `net.core.rmem_max`: the most that `SO_RCVBUF` gives.
pub(crate) fn rmem_max() -> &'static Atomic<u32> {
    // SAFETY: A static of the kernel that all access by single, marked accesses or as a sysctl does.
    unsafe { Atomic::from_ptr(&raw mut bindings::sysctl_rmem_max) }
}

/// `net.core.wmem_max`: the most that `SO_SNDBUF` gives.
pub(crate) fn wmem_max() -> &'static Atomic<u32> {
    // SAFETY: As in `rmem_max`.
    unsafe { Atomic::from_ptr(&raw mut bindings::sysctl_wmem_max) }
}

// SPDX-License-Identifier: GPL-2.0

//! The limits of socket buffers, and what every patch of this family must agree on.
//!
//! C header: [`include/net/sock.h`](srctree/include/net/sock.h)

#![allow(dead_code)] // version 1 uses a part of it

use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};

use crate::bindings;

// ANCHOR: agreed
/// The id of the system state "socket buffer limits" in every version: "sock".
pub(crate) const STATE: usize = 0x736f_636b;

/// The data of the state in version 1: what `net.core.rmem_max` was.
pub(crate) type V1 = Original;

klp::fixed_layout! {
    /// The data of the state in version 2.
    #[derive(Default)]
    pub(crate) struct V2 {
        pub(crate) rmem_max: Original,
        pub(crate) wmem_max: Original,
    }
}
// ANCHOR_END: agreed

/// The default of many years, in bytes, and that of today.
const OLD: u32 = 212_992;
const FIXED: u32 = 4 << 20;

// ANCHOR: limit
klp::fixed_layout! {
    /// The value that a limit had before a patch raised it; 0 while it is not raised.
    pub(crate) struct Original(Atomic<u32>);
}

impl Default for Original {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

impl Original {
    /// Raises `limit` to 4 MB and keeps what it was. Any value but the old default is an administrator's choice and stays,
    /// a lower one, too.
    pub(crate) fn raise(&self, limit: &Atomic<u32>) {
        // FIX: the default of a kernel that is up. An administrator may write at this very moment; the exchange loses no
        // write of his.
        if self.get() == 0 && limit.cmpxchg(OLD, FIXED, Full).is_ok() {
            self.set(OLD);
        }
    }

    /// Gives back what `limit` was, unless somebody has set it meanwhile.
    pub(crate) fn give_back(&self, limit: &Atomic<u32>) {
        if self.get() != 0 {
            let _ = limit.cmpxchg(FIXED, self.get(), Full);
            self.set(0);
        }
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    pub(crate) fn set(&self, value: u32) {
        self.0.store(value, Relaxed);
    }
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

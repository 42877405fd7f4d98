// SPDX-License-Identifier: GPL-2.0

//! `net.core.max_skb_frags`: over how many fragments the network stack may spread a packet that it builds.
//!
//! C header: [`include/net/hotdata.h`](srctree/include/net/hotdata.h)

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

use crate::bindings;

/// The limit. Nothing is ordered against it: the stack takes it for each packet anew.
pub(crate) fn limit() -> &'static Atomic<i32> {
    // SAFETY: The variable is the kernel's own and never goes away. The stack reads it with READ_ONCE(), and the sysctl
    // writes it as a whole.
    unsafe { Atomic::from_ptr(&raw mut bindings::net_hotdata.sysctl_max_skb_frags) }
}

/// The limit now.
pub(crate) fn now() -> i32 {
    limit().load(Relaxed)
}

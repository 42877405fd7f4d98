// SPDX-License-Identifier: GPL-2.0

//! The notifier that tells of every network device.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

use crate::{
    bindings,
    net::NetDevice, //
};

/// What a [`Watch`] tells. Runs in process context under RTNL and may sleep.
pub(crate) trait Watcher: Send + Sync {
    /// The device was there when the watch began, or it appears: in which case nobody can have opened it yet. A device
    /// that is moved to another namespace joins once more without having left.
    ///
    /// # Errors
    ///
    /// The watch does not begin, and those that have joined leave again; or the device does not appear, its probe fails.
    fn joins(&self, dev: &NetDevice) -> Result;

    /// The device is dying, or the watch ends.
    fn leaves(&self, dev: &NetDevice);
}

/// Watches the network devices of all namespaces: a netdevice notifier.
///
/// `Drop` ends the watch without a word to the watcher; [`Watch::end`] tells it first.
///
/// # Invariants
///
/// Whenever `block` is registered, `watcher` and `muted` are initialized and the value is pinned.
#[pin_data(PinnedDrop)]
pub(crate) struct Watch<W: Watcher> {
    #[pin]
    watcher: W,
    muted: Atomic<bool>,
    #[pin]
    block: Opaque<bindings::notifier_block>,
}

// SAFETY: Only the kernel accesses the block, under RTNL; the watcher may be sent.
unsafe impl<W: Watcher> Send for Watch<W> {}

// SAFETY: Only the kernel accesses the block, under RTNL; the watcher may be shared.
unsafe impl<W: Watcher> Sync for Watch<W> {}

impl<W: Watcher> Watch<W> {
    /// Begins the watch. The kernel itself walks over the devices that are there, of all namespaces, so that none is
    /// missed or told twice between a walk of ours and the first event.
    ///
    /// Process context; takes `pernet_ops_rwsem` and RTNL.
    pub(crate) fn new(watcher: impl PinInit<W>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            watcher <- watcher,
            muted: Atomic::new(false),
            // INVARIANT: The last field is registered when the others are there, and unregistered by `drop`.
            block <- Opaque::try_ffi_init(|block: *mut bindings::notifier_block| {
                let complete = bindings::notifier_block {
                    notifier_call: Some(Self::call),
                    ..Default::default()
                };
                // SAFETY: The place is ours to write, and pinned.
                unsafe { block.write(complete) };
                // SAFETY: The block is complete and stays until it is unregistered.
                to_result(unsafe { bindings::register_netdevice_notifier(block) })
            }),
        }? Error)
    }

    /// Ends the watch; the kernel walks over the devices that are there, and the watcher is told that they leave.
    ///
    /// Process context; takes `pernet_ops_rwsem` and RTNL.
    pub(crate) fn end(&self) {
        // SAFETY: The block was registered by `new`; one that is no longer registered is refused.
        unsafe { bindings::unregister_netdevice_notifier(self.block.get()) };
    }

    /// Tells the watcher who joins and who leaves.
    ///
    /// # Safety
    ///
    /// To be called by the chain of the netdevice notifiers, which holds RTNL.
    unsafe extern "C" fn call(
        block: *mut bindings::notifier_block,
        event: c_ulong,
        info: *mut c_void,
    ) -> c_int {
        // SAFETY: By the type invariant the block that the chain calls is part of a `Watch`, of which the other fields
        // are initialized.
        let watch = unsafe { &*kernel::container_of!(Opaque::cast_from(block), Self, block) };
        // SAFETY: The chain passes a `netdev_notifier_info` with a device that stays meanwhile.
        let raw = unsafe { (*info.cast::<bindings::netdev_notifier_info>()).dev };
        if watch.muted.load(Relaxed) {
            return bindings::NOTIFY_DONE as c_int;
        }
        // ANCHOR: events
        let result = match event as u32 {
            bindings::netdev_cmd_NETDEV_REGISTER => {
                // SAFETY: The chain holds the device's own lock in this event.
                watch.watcher.joins(unsafe { NetDevice::from_raw(raw) })
            }
            // SAFETY: The device is there, and RTNL keeps the field.
            bindings::netdev_cmd_NETDEV_UNREGISTER if unsafe { !(*raw).moving_ns } => {
                // SAFETY: The device is there, and the chain does not hold its own lock in this event.
                unsafe { bindings::rust_helper_netdev_lock_ops(raw) };
                // SAFETY: The device's own lock was just taken.
                watch.watcher.leaves(unsafe { NetDevice::from_raw(raw) });
                // SAFETY: As above.
                unsafe { bindings::rust_helper_netdev_unlock_ops(raw) };
                Ok(())
            }
            _ => Ok(()),
        };
        // ANCHOR_END: events
        let errno = result.map_or_else(|e| e.to_errno(), |()| 0);
        // SAFETY: The function computes.
        unsafe { bindings::rust_helper_notifier_from_errno(errno) }
    }
}

#[pinned_drop]
impl<W: Watcher> PinnedDrop for Watch<W> {
    fn drop(self: Pin<&mut Self>) {
        self.muted.store(true, Relaxed);
        self.end();
    }
}

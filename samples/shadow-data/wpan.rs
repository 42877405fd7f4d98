// SPDX-License-Identifier: GPL-2.0

//! The parts of net/mac802154 that the patch needs, each call wrapped once.
//!
//! C header: [`net/mac802154/ieee802154_i.h`](srctree/net/mac802154/ieee802154_i.h)

use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};

use crate::{
    bindings,
    original_alloc,
    original_free,
    ASSOCIATION, //
};

/// A radio; for its driver; one of its interfaces; what a driver can do.
pub(crate) type Radio = *mut bindings::ieee802154_local;
pub(crate) type Hardware = *mut bindings::ieee802154_hw;
pub(crate) type Interface = *mut bindings::ieee802154_sub_if_data;
pub(crate) type Ops = *const bindings::ieee802154_ops;

/// Whom a radio asks to join a network; what comes back; what of that the caller wants.
pub(crate) type Coordinator = *mut bindings::ieee802154_pan_device;
pub(crate) type Frame = *mut bindings::sk_buff;
pub(crate) type ShortAddr = *mut bindings::__le16;

/// The lock of each radio, and what it protects.
pub(crate) type Associations = klp::Shadow<bindings::ieee802154_local, SpinLock<Association>>;

// ANCHOR: refusal
/// Refuses a kernel that has the lock itself, as Linux 7.3 has: its functions hold it where ours would not.
pub(crate) struct WithoutLock;

impl klp::Livepatch for WithoutLock {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: It only tells what it was compiled with.
        if unsafe { bindings::wpan_has_lock() } {
            pr_err!("struct ieee802154_local has this lock already\n");
            return Err(ENOEXEC);
        }
        Ok(Self)
    }
}
// ANCHOR_END: refusal

klp::fixed_layout! {
    /// What an association waits for.
    pub(crate) struct Association {
        /// The extended address of the coordinator that was asked.
        coordinator: u64,
        /// It was asked by the new function, and has not answered.
        waiting: bool,
    }
}

impl Association {
    /// The lock of a radio that waits for nobody.
    pub(crate) fn none() -> impl PinInit<SpinLock<Self>> {
        new_spinlock!(
            Self {
                coordinator: 0,
                waiting: false,
            },
            "shadow_data::Association"
        )
    }

    /// From now on the answer of this coordinator is taken.
    pub(crate) fn begin(&mut self, coordinator: u64) {
        *self = Self {
            coordinator,
            waiting: true,
        };
    }

    /// Nobody waits any more.
    pub(crate) fn end(&mut self) {
        self.waiting = false;
    }

    /// Whether somebody waits who began in the new function.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Takes a frame for the answer, if it is: then it is the only one. What `mac802154_process_association_resp()` returns.
    ///
    /// # Safety
    ///
    /// As for that function: `skb` must be a frame that came to `sdata`, an interface of `radio`.
    pub(crate) unsafe fn answer(&mut self, radio: Radio, sdata: Interface, skb: Frame) -> c_int {
        let mut answer = bindings::wpan_answer::default();
        // SAFETY: The duty of this function.
        let read = unsafe { bindings::wpan_read_answer(sdata, skb, &mut answer) };
        if read != 0 {
            return read;
        }
        // SAFETY: The radio of a living interface is alive.
        if answer.from != self.coordinator || !unsafe { is_associating(radio) } {
            return ENODEV.to_errno();
        }
        self.waiting = false;
        // SAFETY: As above.
        unsafe { bindings::wpan_accept(radio, &answer) };
        0
    }
}

// ANCHOR: lifetime
/// Replaces `ieee802154_alloc_hw()`, by which a driver makes a radio. Process context.
///
/// # Safety
///
/// As for that function: `ops` must be readable.
pub(crate) unsafe extern "C" fn alloc(room: usize, ops: Ops) -> Hardware {
    // SAFETY: The duty of this function.
    let hw = unsafe { original_alloc(room, ops) };
    if !hw.is_null() {
        // Without memory for it the radio is in the place of one that was here before the patch.
        let _ = ASSOCIATION.attach(radio_of(hw), GFP_KERNEL, Association::none());
    }
    hw
}

/// Replaces `ieee802154_free_hw()`, by which a driver gives it back. Process context.
///
/// # Safety
///
/// As for that function: `hw` must come from [`alloc`] or its original, and nobody may use it any more.
pub(crate) unsafe extern "C" fn free(hw: Hardware) {
    // Before the radio goes: afterwards its address may be that of another one, which has a lock of its own.
    ASSOCIATION.free(radio_of(hw));
    // SAFETY: The duty of this function.
    unsafe { original_free(hw) };
}
// ANCHOR_END: lifetime

/// The radio behind what its driver knows.
pub(crate) fn radio_of(hw: Hardware) -> Radio {
    // SAFETY: Nothing but the address is used.
    unsafe { bindings::wpan_radio_of_hw(hw) }
}

/// The radio of an interface.
///
/// # Safety
///
/// `sdata` must be an interface that is alive.
pub(crate) unsafe fn radio(sdata: Interface) -> Radio {
    // SAFETY: The duty of this function.
    unsafe { bindings::wpan_radio_of_interface(sdata) }
}

/// The extended address of a coordinator.
///
/// # Safety
///
/// `coord` must be readable.
pub(crate) unsafe fn address(coord: Coordinator) -> u64 {
    // SAFETY: The duty of this function.
    unsafe { bindings::wpan_address(coord) }
}

/// Whether an association goes on, begun by the new function or the old one.
///
/// # Safety
///
/// `radio` must be alive.
pub(crate) unsafe fn is_associating(radio: Radio) -> bool {
    // SAFETY: The duty of this function.
    unsafe { bindings::wpan_is_associating(radio) }
}

// SPDX-License-Identifier: GPL-2.0

//! A livepatch that adds a lock to a structure: the one by which a radio of IEEE 802.15.4 joins a network.
//!
//! Who joins sends a request and waits; the answer arrives in a worker. Up to Linux 7.2 the two share fields of `struct
//! ieee802154_local` without a lock: a second answer overwrites the first before the waiting task has read it, and one that comes
//! when the wait is over follows a pointer that is null or freed by then. Linux 7.3 adds a lock to the structure. A running
//! kernel cannot: radios exist, and their drivers know the layout. So the lock, and a copy of the address instead of the
//! pointer, live beside the structure, in a shadow variable.
//!
//! A radio that comes with the patch gets its lock at once, one that was here before it when it next joins. An
//! association that began before the patch ends without, as it began.
//!
//! ```text
//! # ./wpan.py join wpan0 mon1 1111 2222      # wpan0 asks, mon1 answers twice
//! wpan0 is 2222
//! # insmod shadow_data.ko
//! # ./wpan.py join wpan0 mon1 1111 2222
//! wpan0 is 1111
//! ```

mod wpan;

use kernel::prelude::*;

use wpan::{
    Coordinator,
    Frame,
    Interface,
    ShortAddr, //
};

klp::bindings!();

// ANCHOR: metadata
klp::livepatch! {
    type: wpan::WithoutLock,
    name: "shadow_data",
    authors: ["The livepatch cookbook"],
    description: "Take one answer only, under a lock, when a radio of IEEE 802.15.4 joins a network",
    license: "GPL",
    states: [
        /// A cumulative patch that does not know of the lock ("asoc") is refused: nobody would free it with its radio.
        static LOCK: () = { id: ASSOCIATION_ID, version: 1 },
    ],
    objects: [
        "mac802154" {
            callbacks: AssociationLock,
            functions: [
                fn ieee802154_alloc_hw(usize, wpan::Ops) -> wpan::Hardware as original_alloc = wpan::alloc,
                fn ieee802154_free_hw(wpan::Hardware) as original_free = wpan::free,
                fn mac802154_perform_association(Interface, Coordinator, ShortAddr) -> c_int as original_associate = associate,
                fn mac802154_process_association_resp(Interface, Frame) -> c_int as original_answer = answer,
            ],
        },
    ],
}
// ANCHOR_END: metadata

// ANCHOR: field
/// The id of the shadow variable, and of the state that says that it is there: "asoc".
const ASSOCIATION_ID: usize = 0x6173_6f63;

/// The lock that `struct ieee802154_local` lacks, and what it protects.
// SAFETY: No other patch uses this id.
static ASSOCIATION: wpan::Associations = unsafe { klp::Shadow::new(ASSOCIATION_ID) };
// ANCHOR_END: field

// ANCHOR: unpatch
struct AssociationLock;

#[vtable]
impl klp::Callbacks for AssociationLock {
    fn post_unpatch(obj: &klp::Object) {
        ASSOCIATION.free_all();
        pr_info!("post_unpatch: {obj}: freed\n");
    }
}
// ANCHOR_END: unpatch

// ANCHOR: association
/// Replaces `mac802154_perform_association()`, which sends the request and waits for the answer. Process context, under RTNL.
///
/// # Safety
///
/// As for that function: the arguments must be an interface that is up, the coordinator to be asked, and room for an address.
unsafe extern "C" fn associate(sdata: Interface, whom: Coordinator, short: ShortAddr) -> c_int {
    // SAFETY: The duty of this function.
    let (radio, address) = unsafe { (wpan::radio(sdata), wpan::address(whom)) };
    // A radio in flight, which was here before the patch, gets its lock now. Without memory for the request it fails, too.
    match ASSOCIATION.get_or_alloc(radio, GFP_KERNEL, wpan::Association::none()) {
        Ok(association) => association.lock().begin(address),
        Err(error) => return error.to_errno(),
    }
    // SAFETY: The duty of this function. It sleeps: neither the lock nor a reference to it may be held.
    let result = unsafe { original_associate(sdata, whom, short) };
    if let Some(association) = ASSOCIATION.get(radio) {
        association.lock().end();
    }
    result
}

/// Replaces `mac802154_process_association_resp()`, to which the worker of a radio brings each answer. Process context.
///
/// # Safety
///
/// As for that function: `skb` must be a frame that came to `sdata`.
unsafe extern "C" fn answer(sdata: Interface, skb: Frame) -> c_int {
    // SAFETY: The duty of this function.
    let radio = unsafe { wpan::radio(sdata) };
    if let Some(association) = ASSOCIATION.get(radio) {
        let mut association = association.lock(); // FIX: what is checked stays so until the answer is given
        if association.is_waiting() {
            // SAFETY: The duty of this function.
            return unsafe { association.answer(radio, sdata, skb) };
        }
    }
    // SAFETY: The duty of this function; one that did not begin in `associate` ends as it began.
    unsafe { wpan::is_associating(radio).then(|| original_answer(sdata, skb)) }.unwrap_or(0)
}
// ANCHOR_END: association

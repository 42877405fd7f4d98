// SPDX-License-Identifier: GPL-2.0

//! The patch of samples/shadow-data as it is written first. **It is wrong**: only new radios get a lock.

#[path = "../../../../samples/shadow-data/wpan.rs"]
mod wpan;

use kernel::prelude::*;

use wpan::{
    Coordinator,
    Frame,
    Interface,
    ShortAddr, //
};

klp::bindings!();

klp::livepatch! {
    type: wpan::WithoutLock,
    name: "naive_shadow_data",
    authors: ["The livepatch cookbook"],
    description: "Take one answer only when a radio of IEEE 802.15.4 joins a network (wrong)",
    license: "GPL",
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

// SAFETY: No other patch uses this id.
static ASSOCIATION: wpan::Associations = unsafe { klp::Shadow::new(0x6e61_6976) };

struct AssociationLock;

#[vtable]
impl klp::Callbacks for AssociationLock {
    fn post_unpatch(_obj: &klp::Object) {
        ASSOCIATION.free_all();
    }
}

// ANCHOR: naive
unsafe extern "C" fn associate(sdata: Interface, whom: Coordinator, short: ShortAddr) -> c_int {
    // SAFETY: The arguments are those of `mac802154_perform_association()`.
    let (radio, address) = unsafe { (wpan::radio(sdata), wpan::address(whom)) };
    if let Some(association) = ASSOCIATION.get(radio) {
        association.lock().begin(address);
    }
    // SAFETY: As above.
    let result = unsafe { original_associate(sdata, whom, short) };
    if let Some(association) = ASSOCIATION.get(radio) {
        association.lock().end();
    }
    result
}
// ANCHOR_END: naive

unsafe extern "C" fn answer(sdata: Interface, skb: Frame) -> c_int {
    // SAFETY: The arguments are those of `mac802154_process_association_resp()`.
    let radio = unsafe { wpan::radio(sdata) };
    if let Some(association) = ASSOCIATION.get(radio) {
        let mut association = association.lock();
        if association.is_waiting() {
            // SAFETY: As above.
            return unsafe { association.answer(radio, sdata, skb) };
        }
    }
    // SAFETY: As above.
    unsafe { wpan::is_associating(radio).then(|| original_answer(sdata, skb)) }.unwrap_or(0)
}

// SPDX-License-Identifier: GPL-2.0

//! A livepatch that updates global data: the limit of TCP challenge ACKs.
//!
//! Linux answered at most 100 suspicious segments a second with a challenge ACK, in all connections together. Who could
//! count these ACKs on a connection of his own learned whether his guesses at another connection hit (CVE-2016-5696).
//! Commit 75ff39ccc1bd ("tcp: make challenge acks less predictable") raised `net.ipv4.tcp_challenge_ack_limit` to 1000
//! and made the budget of each second random.
//!
//! Replacing the function does not raise the limit of a system that is up: the value was set when each network
//! namespace was made. So callbacks raise it in every namespace that is still at 100, and give it back. Any other
//! value is an administrator's choice and stays.
//!
//! ```text
//! # sysctl net.ipv4.tcp_challenge_ack_limit=100
//! # insmod sysctl_update.ko when=post
//! # sysctl net.ipv4.tcp_challenge_ack_limit
//! net.ipv4.tcp_challenge_ack_limit = 1000
//! # echo 0 > /sys/kernel/livepatch/sysctl_update/enabled
//! # sysctl net.ipv4.tcp_challenge_ack_limit
//! net.ipv4.tcp_challenge_ack_limit = 100
//! ```

mod net;

use kernel::prelude::*;

use net::Candidates;

klp::bindings!();

// ANCHOR: metadata
klp::livepatch! {
    name: "sysctl_update",
    authors: ["The livepatch cookbook"],
    description: "Raise tcp_challenge_ack_limit and make its budget unpredictable",
    license: "GPL",
    states: [
        /// A cumulative patch that does not know of the raised limits ("ackl") is refused: it would leave them behind.
        static LIMITS: () = { id: 0x6163_6b6c, version: 1 },
    ],
    objects: [
        vmlinux {
            stateful: ChallengeAckLimit,
            functions: [
                // The two that tcp_challenge_ack_allowed() is inlined into.
                // SAFETY: The declaration is that of net/ipv4/tcp_input.c, where it is static.
                unsafe fn tcp_send_challenge_ack(*mut bindings::sock, bool) = net::send_challenge_ack,
                fn tcp_reqsk_send_challenge_ack(
                    *mut bindings::sock, *mut bindings::sk_buff, *mut bindings::request_sock
                ) = net::reqsk_send_challenge_ack,
            ],
        },
    ],
}

klp::param! {
    static WHEN("when"): enum When { Pre = "pre", Post = "post" } = When::Pre, 0o444,
    "raise the limits before tasks use the new functions (pre) or after all of them do (post)"
}
// ANCHOR_END: metadata

const VULNERABLE: i32 = 100;
const FIXED: i32 = 1000;

struct ChallengeAckLimit;

// ANCHOR: callbacks
#[vtable]
impl klp::StatefulCallbacks for ChallengeAckLimit {
    type State = Candidates;

    /// Takes the memory here, where a failure can still refuse the patch.
    fn pre_patch(obj: &klp::Object) -> impl PinInit<Self::State, Error> {
        let candidates = Candidates::collect(VULNERABLE)?;
        pr_info!("pre_patch: {obj}: {} at {VULNERABLE}\n", candidates.len());
        if WHEN.get() == When::Pre {
            candidates.raise(VULNERABLE, FIXED);
        }
        Ok(candidates)
    }

    fn post_patch(obj: &klp::Object, candidates: Pin<&Self::State>) {
        pr_info!("post_patch: {obj}: every task reads the limit once\n");
        if WHEN.get() == When::Post {
            candidates.raise(VULNERABLE, FIXED);
        }
    }

    /// The mirror of `post_patch`: the data goes back while every task still runs the new reader.
    fn pre_unpatch(obj: &klp::Object, candidates: Pin<&Self::State>) {
        pr_info!("pre_unpatch: {obj}\n");
        if WHEN.get() == When::Post {
            candidates.give_back(FIXED, VULNERABLE);
        }
    }

    fn post_unpatch(obj: &klp::Object, candidates: Pin<KBox<Self::State>>) {
        pr_info!("post_unpatch: {obj}\n");
        candidates.give_back(FIXED, VULNERABLE);
    }
}
// ANCHOR_END: callbacks

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

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

use net::{
    Namespaces,
    Net,
    Request,
    Sock, //
};

klp::bindings!();

// ANCHOR: metadata
klp::livepatch! {
    type: ChallengeAckLimit,
    name: "sysctl_update",
    authors: ["The livepatch cookbook"],
    description: "Raise tcp_challenge_ack_limit and make its budget unpredictable",
    license: "GPL",
    objects: [
        vmlinux {
            stateful: ChallengeAckLimit,
            functions: [
                // SAFETY: Both declarations are those of net/ipv4/tcp_input.c, which calls the functions with a socket
                // that is locked or held. They are the two that tcp_challenge_ack_allowed() is inlined into.
                unsafe fn tcp_send_challenge_ack(*mut bindings::sock, bool) = send_challenge_ack,
                unsafe fn tcp_reqsk_send_challenge_ack(
                    *mut bindings::sock, *mut bindings::sk_buff, *mut bindings::request_sock
                ) = reqsk_send_challenge_ack,
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

// ANCHOR: candidate
/// A namespace that was at the vulnerable default, named by its cookie because it may die at any time.
struct Candidate {
    cookie: u64,
    raised: Atomic<bool>,
}
// ANCHOR_END: candidate

struct ChallengeAckLimit;

impl klp::Livepatch for ChallengeAckLimit {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

// ANCHOR: callbacks
#[vtable]
impl klp::StatefulCallbacks for ChallengeAckLimit {
    type State = KVec<Candidate>;

    /// Takes the memory here, where a failure can still refuse the patch.
    fn pre_patch(obj: &klp::Object) -> impl PinInit<Self::State, Error> {
        let candidates = collect()?;
        pr_info!("pre_patch: {obj}: {} at {VULNERABLE}\n", candidates.len());
        if WHEN.get() == When::Pre {
            raise(&candidates);
        }
        Ok(candidates)
    }

    fn post_patch(obj: &klp::Object, candidates: Pin<&Self::State>) {
        pr_info!("post_patch: {obj}: every task reads the limit once\n");
        if WHEN.get() == When::Post {
            raise(&candidates);
        }
    }

    /// The mirror of `post_patch`: the data goes back while every task still runs the new reader.
    fn pre_unpatch(obj: &klp::Object, candidates: Pin<&Self::State>) {
        pr_info!("pre_unpatch: {obj}\n");
        if WHEN.get() == When::Post {
            give_back(&candidates);
        }
    }

    fn post_unpatch(obj: &klp::Object, candidates: Pin<KBox<Self::State>>) {
        pr_info!("post_unpatch: {obj}\n");
        give_back(&candidates);
    }
}
// ANCHOR_END: callbacks

// ANCHOR: walk
/// The namespaces at the vulnerable default by their cookies, under the lock that the kernel walks them with.
fn collect() -> Result<KVec<Candidate>> {
    let mut candidates = KVec::new();
    for net in Namespaces::lock().iter() {
        if net.limit().load(Relaxed) == VULNERABLE {
            let candidate = Candidate {
                cookie: net.cookie(),
                raised: Atomic::new(false),
            };
            candidates.push(candidate, GFP_KERNEL)?;
        }
    }
    candidates.sort_unstable_by_key(|candidate| candidate.cookie);
    Ok(candidates)
}

/// Raises the limit of each candidate that is alive and that nobody has changed meanwhile.
fn raise(candidates: &[Candidate]) {
    swap(candidates, VULNERABLE, FIXED, true);
}

/// Gives back what [`raise`] took, and only that: a limit that somebody has changed meanwhile stays.
fn give_back(candidates: &[Candidate]) {
    swap(candidates, FIXED, VULNERABLE, false);
}

fn swap(candidates: &[Candidate], from: i32, to: i32, raised: bool) {
    let mut count = 0;
    for net in Namespaces::lock().iter() {
        let Ok(at) = candidates.binary_search_by_key(&net.cookie(), |c| c.cookie) else {
            continue;
        };
        if candidates[at].raised.load(Relaxed) != raised {
            // An administrator may write at this very moment; the exchange loses no write of his.
            let swapped = net.limit().cmpxchg(from, to, Full).is_ok();
            candidates[at].raised.store(raised && swapped, Relaxed);
            count += usize::from(swapped);
        }
    }
    pr_info!("{count} limits from {from} to {to}\n");
}
// ANCHOR_END: walk

// ANCHOR: reader
/// Replaces `tcp_send_challenge_ack()`.
///
/// # Safety
///
/// As the function that it replaces: `sk` must be a TCP socket that the receive path has locked.
unsafe extern "C" fn send_challenge_ack(sk: *mut bindings::sock, accecn_reflector: bool) {
    // SAFETY: The duty of this function.
    let sk = unsafe { Sock::from_raw(sk) };
    if !sk.is_rate_limited() && challenge_ack_allowed(sk.net()) {
        sk.net().count_challenge_ack();
        sk.send_ack(accecn_reflector);
    }
}

/// Replaces `tcp_reqsk_send_challenge_ack()`.
///
/// # Safety
///
/// As the function that it replaces: all three must be alive for the time of the call.
unsafe extern "C" fn reqsk_send_challenge_ack(
    sk: *mut bindings::sock,
    skb: *mut bindings::sk_buff,
    req: *mut bindings::request_sock,
) {
    // SAFETY: The duty of this function.
    let request = unsafe { Request::from_raw(sk, skb, req) };
    if !request.is_rate_limited() && challenge_ack_allowed(request.net()) {
        request.net().count_challenge_ack();
        request.send_ack();
    }
}

/// Takes one challenge ACK from the budget of this second, which is random between half the limit and one and a half.
fn challenge_ack_allowed(net: &Net) -> bool {
    // Read once, as by READ_ONCE(): a callback or an administrator may change the limit between two reads.
    let limit = net.limit().load(Relaxed);
    if limit == i32::MAX {
        return true;
    }
    let now = net::seconds();
    if net.second().load(Relaxed) != now {
        let limit = limit as u32;
        let half = limit.div_ceil(2);
        net.second().store(now, Relaxed);
        net.budget().store(
            net::random(half, limit.saturating_add(half).saturating_sub(1)),
            Relaxed,
        );
    }
    // Two CPUs may take the same one; the limit is no exact count, in the kernel neither.
    let left = net.budget().load(Relaxed);
    if left > 0 {
        net.budget().store(left - 1, Relaxed);
    }
    left > 0
}
// ANCHOR_END: reader

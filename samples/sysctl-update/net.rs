// SPDX-License-Identifier: GPL-2.0

//! The part of the network stack that the patch touches, each call wrapped once, and the functions that it replaces.
//!
//! C headers: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h),
//! [`include/net/tcp.h`](srctree/include/net/tcp.h)

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};
use klp::Saved;

use crate::bindings;

/// A network namespace.
#[repr(transparent)]
struct Net(Opaque<bindings::net>);

impl Net {
    /// # Safety
    ///
    /// `net` must be a namespace that stays alive for `'a`.
    unsafe fn from_raw<'a>(net: *mut bindings::net) -> &'a Self {
        // SAFETY: By the duty of this function; `Self` is a transparent wrapper.
        unsafe { &*net.cast() }
    }

    /// What names the namespace as long as the system runs, unlike its address: `net_cookie` is never used again.
    fn cookie(&self) -> u64 {
        // SAFETY: The namespace is alive, and the field is written once, before anybody can see the namespace.
        unsafe { (*self.0.get()).net_cookie }
    }

    /// `net.ipv4.tcp_challenge_ack_limit`: challenge ACKs a second; `INT_MAX` for no limit.
    fn limit(&self) -> &Atomic<i32> {
        // SAFETY: The field is valid, and all that access it do so by single, marked accesses or as a sysctl does.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).ipv4.sysctl_tcp_challenge_ack_limit) }
    }

    /// The second for which [`Net::budget`] holds.
    fn second(&self) -> &Atomic<u32> {
        // SAFETY: As in `limit`.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).ipv4.tcp_challenge_timestamp) }
    }

    /// The challenge ACKs that may still be sent in this second.
    fn budget(&self) -> &Atomic<u32> {
        // SAFETY: As in `limit`.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).ipv4.tcp_challenge_count) }
    }

    /// Counts a challenge ACK in `TcpExt: TCPChallengeACK`.
    fn count_challenge_ack(&self) {
        self.count(bindings::LINUX_MIB_TCPCHALLENGEACK as c_int);
    }

    fn count(&self, field: c_int) {
        // SAFETY: The namespace is alive, and `field` is one of the counters of `TcpExt`.
        unsafe { bindings::net_inc_stats(self.0.get(), field) };
    }

    /// Whether an answer at `last` (in jiffies, 0 for never) forbids another one now; else notes the time.
    /// RFC 5961 asks for this limit for each connection: `net.ipv4.tcp_invalid_ratelimit`.
    fn is_rate_limited(&self, last: &Atomic<u32>) -> bool {
        let (now, before) = (jiffies() as u32, last.load(Relaxed));
        // SAFETY: As in `limit`.
        let limit =
            unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).ipv4.sysctl_tcp_invalid_ratelimit) };
        let elapsed = now.wrapping_sub(before) as i32;
        if before != 0 && (0..limit.load(Relaxed)).contains(&elapsed) {
            self.count(bindings::LINUX_MIB_TCPACKSKIPPEDCHALLENGE as c_int);
            return true;
        }
        last.store(now, Relaxed);
        false
    }
}

/// All network namespaces, held in place by `net_rwsem`.
///
/// Process context; may sleep. The semaphore nests inside RTNL and, as taken here, inside `klp_mutex`; nobody takes
/// either of these while holding it.
struct Namespaces(());

impl Namespaces {
    /// Takes `net_rwsem` for reading.
    fn lock() -> Self {
        // SAFETY: The semaphore is a static of the kernel.
        unsafe { bindings::down_read(&raw mut bindings::net_rwsem) };
        Self(())
    }

    /// The namespaces, the first one included.
    fn iter(&self) -> impl Iterator<Item = &Net> {
        let head = &raw mut bindings::net_namespace_list;
        // SAFETY: `net_rwsem` guards the list, whose head and links are valid.
        let next = move |link: *mut bindings::list_head| unsafe { (*link).next };
        core::iter::successors(Some(next(head)), move |link| Some(next(*link)))
            .take_while(move |link| *link != head)
            // SAFETY: Every link but the head is the field `list` of a namespace, which stays while it is linked.
            .map(|link| unsafe { Net::from_raw(kernel::container_of!(link, bindings::net, list)) })
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // SAFETY: `lock` took the semaphore.
        unsafe { bindings::up_read(&raw mut bindings::net_rwsem) };
    }
}

/// A TCP connection, as the receive path passes it to [`Sock::from_raw`]'s caller.
struct Sock(*mut bindings::sock);

impl Sock {
    /// # Safety
    ///
    /// `sk` must be a TCP socket that the caller owns or holds a reference to while the value lives.
    unsafe fn from_raw(sk: *mut bindings::sock) -> Self {
        Self(sk)
    }

    /// The namespace of the socket.
    fn net(&self) -> &Net {
        // SAFETY: The socket is alive and holds its namespace.
        unsafe { Net::from_raw(bindings::sock_net(self.0)) }
    }

    fn tcp(&self) -> *mut bindings::tcp_sock {
        // SAFETY: The socket is the first part of a `struct tcp_sock`.
        unsafe { kernel::container_of!(self.0, bindings::tcp_sock, inet_conn.icsk_inet.sk) }
    }

    /// Whether this connection was answered too recently to be answered again.
    fn is_rate_limited(&self) -> bool {
        // SAFETY: The field is valid and accessed by single, marked accesses.
        let last = unsafe { Atomic::from_ptr(&raw mut (*self.tcp()).last_oow_ack_time) };
        self.net().is_rate_limited(last)
    }

    /// Sends an ACK; with `reflect`, carrying the ECN bits of the peer's SYN (AccECN).
    fn send_ack(&self, reflect: bool) {
        let tp = self.tcp();
        // SAFETY: The socket is alive and locked by the receive path.
        unsafe {
            let flags = if reflect {
                bindings::tcp_accecn_reflector_flags((*tp).syn_ect_rcv())
            } else {
                0
            };
            bindings::__tcp_send_ack(self.0, (*tp).rcv_nxt, flags);
        }
    }
}

/// A connection that is still being set up, with the packet that arrived for it.
struct Request {
    listener: Sock,
    skb: *mut bindings::sk_buff,
    req: *mut bindings::request_sock,
}

impl Request {
    /// # Safety
    ///
    /// The pointers must be the arguments of `tcp_reqsk_send_challenge_ack()`, and the value must not outlive that call.
    unsafe fn from_raw(
        sk: *mut bindings::sock,
        skb: *mut bindings::sk_buff,
        req: *mut bindings::request_sock,
    ) -> Self {
        Self {
            // SAFETY: The caller of that function holds the listening socket.
            listener: unsafe { Sock::from_raw(sk) },
            skb,
            req,
        }
    }

    /// The namespace of the listening socket.
    fn net(&self) -> &Net {
        self.listener.net()
    }

    /// As [`Sock::is_rate_limited`].
    fn is_rate_limited(&self) -> bool {
        // SAFETY: The request is alive; the field is accessed by single, marked accesses.
        let last = unsafe {
            let req = kernel::container_of!(self.req, bindings::tcp_request_sock, req.req);
            Atomic::from_ptr(&raw mut (*req).last_oow_ack_time)
        };
        self.net().is_rate_limited(last)
    }

    /// Sends an ACK on behalf of the request.
    fn send_ack(&self) {
        // SAFETY: The request is alive, and its operations are set for as long as it lives.
        unsafe {
            if let Some(send_ack) = (*(*self.req).rsk_ops).send_ack {
                send_ack(self.listener.0, self.skb, self.req);
            }
        }
    }
}

/// Ticks since boot, `HZ` in a second.
fn jiffies() -> usize {
    // SAFETY: Reads a counter.
    unsafe { bindings::jiffies() }
}

/// Seconds since boot, as the limit counts them.
fn seconds() -> u32 {
    (jiffies() / bindings::CONFIG_HZ as usize) as u32
}

/// A random number from `floor` to `ceil`, both included; any number at all if `ceil` is one less than `floor`.
fn random(floor: u32, ceil: u32) -> u32 {
    // SAFETY: The function computes.
    unsafe { bindings::get_random_u32_inclusive(floor, ceil) }
}

// ANCHOR: candidate
/// A namespace that was at the vulnerable default, named by its cookie because it may die at any time.
struct Candidate {
    cookie: u64,
    limit: Saved<i32>,
}
// ANCHOR_END: candidate

/// The namespaces that the patch may change, by their cookies.
pub(crate) struct Candidates(KVec<Candidate>);

// ANCHOR: walk
impl Candidates {
    /// Those that are at `limit`, under the lock that the kernel walks them with.
    pub(crate) fn collect(limit: i32) -> Result<Self> {
        let mut candidates = KVec::new();
        for net in Namespaces::lock().iter() {
            if net.limit().load(Relaxed) == limit {
                let candidate = Candidate {
                    cookie: net.cookie(),
                    limit: Saved::default(),
                };
                candidates.push(candidate, GFP_KERNEL)?;
            }
        }
        candidates.sort_unstable_by_key(|candidate| candidate.cookie);
        Ok(Self(candidates))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Raises the limit of each that is alive and that nobody has changed meanwhile.
    pub(crate) fn raise(&self, from: i32, to: i32) {
        // FIX: the value that each namespace got when it was made.
        let count = self.change(|saved, limit| saved.change(limit, from, to));
        pr_info!("{count} limits from {from} to {to}\n");
    }

    /// Gives back what [`Self::raise`] took, and only that: a limit that somebody has changed meanwhile stays.
    pub(crate) fn give_back(&self, from: i32, to: i32) {
        let count = self.change(|saved, limit| saved.give_back(limit).is_some());
        pr_info!("{count} limits from {from} to {to}\n");
    }

    /// Calls `change` with the limit of each that is alive; counts the calls that changed it.
    fn change(&self, change: impl Fn(&Saved<i32>, &Atomic<i32>) -> bool) -> usize {
        let changes = |net: &&Net| {
            let at = self.0.binary_search_by_key(&net.cookie(), |c| c.cookie);
            at.is_ok_and(|at| change(&self.0[at].limit, net.limit()))
        };
        Namespaces::lock().iter().filter(changes).count()
    }
}
// ANCHOR_END: walk

// ANCHOR: reader
/// Replaces `tcp_send_challenge_ack()`.
///
/// # Safety
///
/// As the function that it replaces: `sk` must be a TCP socket that the receive path has locked.
pub(crate) unsafe extern "C" fn send_challenge_ack(
    sk: *mut bindings::sock,
    accecn_reflector: bool,
) {
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
pub(crate) unsafe extern "C" fn reqsk_send_challenge_ack(
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
    let now = seconds();
    if net.second().load(Relaxed) != now {
        // The original's arithmetic to the bit: it wraps, so that 0 gives a budget that hardly limits at all. Who thinks
        // that this is wrong fixes it in a patch of its own.
        let limit = limit as u32;
        let half = limit.wrapping_add(1) >> 1;
        let most = limit.wrapping_add(half).wrapping_sub(1);
        net.second().store(now, Relaxed);
        net.budget().store(random(half, most), Relaxed);
    }
    // Two CPUs may take the same one; the limit is no exact count, in the kernel neither.
    let left = net.budget().load(Relaxed);
    if left > 0 {
        net.budget().store(left - 1, Relaxed);
    }
    left > 0
}
// ANCHOR_END: reader

// SPDX-License-Identifier: GPL-2.0

//! The part of the network stack that the patch touches, each call wrapped once.
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

use crate::bindings;

/// A network namespace.
#[repr(transparent)]
pub(crate) struct Net(Opaque<bindings::net>);

impl Net {
    /// # Safety
    ///
    /// `net` must be a namespace that stays alive for `'a`.
    unsafe fn from_raw<'a>(net: *mut bindings::net) -> &'a Self {
        // SAFETY: By the duty of this function; `Self` is a transparent wrapper.
        unsafe { &*net.cast() }
    }

    /// What names the namespace as long as the system runs, unlike its address: `net_cookie` is never used again.
    pub(crate) fn cookie(&self) -> u64 {
        // SAFETY: The namespace is alive, and the field is written once, before anybody can see the namespace.
        unsafe { (*self.0.get()).net_cookie }
    }

    /// `net.ipv4.tcp_challenge_ack_limit`: challenge ACKs a second; `INT_MAX` for no limit.
    pub(crate) fn limit(&self) -> &Atomic<i32> {
        // SAFETY: The field is valid, and all that access it do so by single, marked accesses or as a sysctl does.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).ipv4.sysctl_tcp_challenge_ack_limit) }
    }

    /// The second for which [`Net::budget`] holds.
    pub(crate) fn second(&self) -> &Atomic<u32> {
        // SAFETY: As in `limit`.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).ipv4.tcp_challenge_timestamp) }
    }

    /// The challenge ACKs that may still be sent in this second.
    pub(crate) fn budget(&self) -> &Atomic<u32> {
        // SAFETY: As in `limit`.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).ipv4.tcp_challenge_count) }
    }

    /// Counts a challenge ACK in `TcpExt: TCPChallengeACK`.
    pub(crate) fn count_challenge_ack(&self) {
        self.count(bindings::LINUX_MIB_TCPCHALLENGEACK as c_int);
    }

    fn count(&self, field: c_int) {
        // SAFETY: The namespace is alive, and `field` is one of the counters of `TcpExt`.
        unsafe { bindings::rust_helper_net_inc_stats(self.0.get(), field) };
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
pub(crate) struct Namespaces(());

impl Namespaces {
    /// Takes `net_rwsem` for reading.
    pub(crate) fn lock() -> Self {
        // SAFETY: The semaphore is a static of the kernel.
        unsafe { bindings::down_read(&raw mut bindings::net_rwsem) };
        Self(())
    }

    /// The namespaces, the first one included.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Net> {
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
pub(crate) struct Sock(*mut bindings::sock);

impl Sock {
    /// # Safety
    ///
    /// `sk` must be a TCP socket that the caller owns or holds a reference to while the value lives.
    pub(crate) unsafe fn from_raw(sk: *mut bindings::sock) -> Self {
        Self(sk)
    }

    /// The namespace of the socket.
    pub(crate) fn net(&self) -> &Net {
        // SAFETY: The socket is alive and holds its namespace.
        unsafe { Net::from_raw(bindings::rust_helper_sock_net(self.0)) }
    }

    fn tcp(&self) -> *mut bindings::tcp_sock {
        // SAFETY: The socket is the first part of a `struct tcp_sock`.
        unsafe { kernel::container_of!(self.0, bindings::tcp_sock, inet_conn.icsk_inet.sk) }
    }

    /// Whether this connection was answered too recently to be answered again.
    pub(crate) fn is_rate_limited(&self) -> bool {
        // SAFETY: The field is valid and accessed by single, marked accesses.
        let last = unsafe { Atomic::from_ptr(&raw mut (*self.tcp()).last_oow_ack_time) };
        self.net().is_rate_limited(last)
    }

    /// Sends an ACK; with `reflect`, carrying the ECN bits of the peer's SYN (AccECN).
    pub(crate) fn send_ack(&self, reflect: bool) {
        let tp = self.tcp();
        // SAFETY: The socket is alive and locked by the receive path.
        unsafe {
            let flags = if reflect {
                bindings::rust_helper_tcp_accecn_reflector_flags((*tp).syn_ect_rcv())
            } else {
                0
            };
            bindings::__tcp_send_ack(self.0, (*tp).rcv_nxt, flags);
        }
    }
}

/// A connection that is still being set up, with the packet that arrived for it.
pub(crate) struct Request {
    listener: Sock,
    skb: *mut bindings::sk_buff,
    req: *mut bindings::request_sock,
}

impl Request {
    /// # Safety
    ///
    /// The pointers must be the arguments of `tcp_reqsk_send_challenge_ack()`, and the value must not outlive that call.
    pub(crate) unsafe fn from_raw(
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
    pub(crate) fn net(&self) -> &Net {
        self.listener.net()
    }

    /// As [`Sock::is_rate_limited`].
    pub(crate) fn is_rate_limited(&self) -> bool {
        // SAFETY: The request is alive; the field is accessed by single, marked accesses.
        let last = unsafe {
            let req = kernel::container_of!(self.req, bindings::tcp_request_sock, req.req);
            Atomic::from_ptr(&raw mut (*req).last_oow_ack_time)
        };
        self.net().is_rate_limited(last)
    }

    /// Sends an ACK on behalf of the request.
    pub(crate) fn send_ack(&self) {
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
    unsafe { bindings::rust_helper_jiffies() }
}

/// Seconds since boot, as the limit counts them.
pub(crate) fn seconds() -> u32 {
    (jiffies() / bindings::CONFIG_HZ as usize) as u32
}

/// A random number from `floor` to `ceil`, both included.
pub(crate) fn random(floor: u32, ceil: u32) -> u32 {
    // SAFETY: The function has no duties beyond the order of its arguments.
    unsafe { bindings::rust_helper_get_random_u32_inclusive(floor, ceil.max(floor)) }
}

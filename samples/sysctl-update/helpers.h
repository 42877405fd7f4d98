/* SPDX-License-Identifier: GPL-2.0 */
/* Inline functions and macros of the kernel as functions that Rust can call; see helpers.c. */

#include <net/tcp.h>

u32 rust_helper_get_random_u32_inclusive(u32 floor, u32 ceil);
unsigned long rust_helper_jiffies(void);
void rust_helper_net_inc_stats(struct net *net, int field);
struct net *rust_helper_sock_net(const struct sock *sk);
u16 rust_helper_tcp_accecn_reflector_flags(u8 ect);

// SPDX-License-Identifier: GPL-2.0

#include <linux/random.h>
#include <net/tcp.h>
#include <net/tcp_ecn.h>

u32 rust_helper_get_random_u32_inclusive(u32 floor, u32 ceil)
{
	return get_random_u32_inclusive(floor, ceil);
}

unsigned long rust_helper_jiffies(void)
{
	return jiffies;
}

void rust_helper_net_inc_stats(struct net *net, int field)
{
	NET_INC_STATS(net, field);
}

struct net *rust_helper_sock_net(const struct sock *sk)
{
	return sock_net(sk);
}

u16 rust_helper_tcp_accecn_reflector_flags(u8 ect)
{
	return tcp_accecn_reflector_flags(ect);
}

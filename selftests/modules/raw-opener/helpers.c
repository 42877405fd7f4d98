// SPDX-License-Identifier: GPL-2.0

#include <linux/seq_file.h>
#include <linux/user_namespace.h>
#include <net/inet_sock.h>
#include <net/raw.h>

/* Puts a socket into the table of its protocol. */
void rust_helper_raw_hash(struct sock *sk)
{
	struct raw_hashinfo *table = sk->sk_prot->h.raw_hash;
	u32 slot = raw_hashfunc(sock_net(sk), inet_sk(sk)->inet_num);

	spin_lock(&table->lock);
	sk_add_node_rcu(sk, &table->ht[slot]);
	sock_set_flag(sk, SOCK_RCU_FREE);
	spin_unlock(&table->lock);
	sock_prot_inuse_add(sock_net(sk), sk->sk_prot, 1);
}

/* Takes a socket out of the table again, if it is there. */
void rust_helper_raw_unhash(struct sock *sk)
{
	struct raw_hashinfo *table = sk->sk_prot->h.raw_hash;

	spin_lock(&table->lock);
	if (sk_del_node_init_rcu(sk))
		sock_prot_inuse_add(sock_net(sk), sk->sk_prot, -1);
	spin_unlock(&table->lock);
}

/* Shows every raw IPv4 socket of all namespaces to visit() with @data, which runs under the lock of the table. */
void rust_helper_raw_for_each(void (*visit)(struct sock *sk, void *data), void *data)
{
	struct sock *sk;
	unsigned int slot;

	spin_lock(&raw_v4_hashinfo.lock);
	for (slot = 0; slot < RAW_HTABLE_SIZE; slot++)
		sk_for_each(sk, &raw_v4_hashinfo.ht[slot])
			visit(sk, data);
	spin_unlock(&raw_v4_hashinfo.lock);
}

/* The line of a socket, or the heading, as the kernel has it but without the newline. */
void rust_helper_raw_show(struct seq_file *seq, struct sock *sk)
{
	struct inet_sock *inet = inet_sk(sk);

	if (sk == SEQ_START_TOKEN) {
		seq_puts(seq, "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when "
			 "retrnsmt   uid  timeout inode ref pointer drops");
		return;
	}
	seq_printf(seq, "%4d: %08X:%04X %08X:%04X %02X %08X:%08X 00:00000000 00000000 %5u",
		   raw_seq_private(seq)->bucket, inet->inet_rcv_saddr, inet->inet_num,
		   inet->inet_daddr, 0, sk->sk_state, sk_wmem_alloc_get(sk), sk_rmem_alloc_get(sk),
		   from_kuid_munged(seq_user_ns(seq), sk_uid(sk)));
	seq_printf(seq, " %8d %llu %d %pK %u", 0, (u64)sock_i_ino(sk),
		   refcount_read(&sk->sk_refcnt), sk, sk_drops_read(sk));
}

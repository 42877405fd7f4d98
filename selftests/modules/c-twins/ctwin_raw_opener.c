// SPDX-License-Identifier: GPL-2.0
/*
 * The twin of ../raw-opener: /proc/net/raw shows who opened each raw socket, which a shadow variable
 * remembers beside struct sock.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/user_namespace.h>
#include <net/inet_sock.h>
#include <net/raw.h>

#define OPENER_ID	0x7261776fUL

/* A process, as it was at some moment. */
struct opener {
	pid_t pid;
	char comm[TASK_COMM_LEN];
};

/* Whether every task runs the new functions, so that a field is where a socket is. */
static bool everywhere;

static int init_opener(void *obj, void *shadow_data, void *ctor_data)
{
	*(struct opener *)shadow_data = *(struct opener *)ctor_data;
	return 0;
}

static void *attach(struct sock *sk, struct opener *opener, gfp_t flags)
{
	return klp_shadow_get_or_alloc(sk, OPENER_ID, sizeof(*opener), flags, init_opener, opener);
}

/* Runs under the lock of the table: the socket cannot leave it, and so not lose the field before it has it. */
static void attach_to_existing(struct sock *sk)
{
	struct opener unknown = { };

	/* Without memory the socket is shown without an opener; this is too late to refuse the patch. */
	attach(sk, &unknown, GFP_ATOMIC);
}

static int opener_hash(struct sock *sk)
{
	struct raw_hashinfo *table = sk->sk_prot->h.raw_hash;
	u32 slot = raw_hashfunc(sock_net(sk), inet_sk(sk)->inet_num);
	struct opener opener;

	spin_lock(&table->lock);
	sk_add_node_rcu(sk, &table->ht[slot]);
	sock_set_flag(sk, SOCK_RCU_FREE);
	spin_unlock(&table->lock);
	sock_prot_inuse_add(sock_net(sk), sk->sk_prot, 1);

	/* After the lock of the table was held: either this sees `everywhere`, or post_patch's walk sees the socket. */
	if (!READ_ONCE(everywhere))
		return 0;
	opener.pid = current->tgid;
	memcpy(opener.comm, current->comm, sizeof(opener.comm));
	/* Without memory the socket is shown without an opener: no socket fails for the sake of a column. */
	attach(sk, &opener, GFP_KERNEL);
	return 0;
}

static void opener_unhash(struct sock *sk)
{
	struct raw_hashinfo *table = sk->sk_prot->h.raw_hash;

	spin_lock(&table->lock);
	if (sk_del_node_init_rcu(sk))
		sock_prot_inuse_add(sock_net(sk), sk->sk_prot, -1);
	spin_unlock(&table->lock);
	klp_shadow_free(sk, OPENER_ID, NULL);
}

static void show_socket(struct seq_file *seq, struct sock *sk)
{
	struct inet_sock *inet = inet_sk(sk);

	seq_printf(seq, "%4d: %08X:%04X %08X:%04X %02X %08X:%08X 00:00000000 00000000 %5u",
		   raw_seq_private(seq)->bucket, inet->inet_rcv_saddr, inet->inet_num,
		   inet->inet_daddr, 0, sk->sk_state, sk_wmem_alloc_get(sk), sk_rmem_alloc_get(sk),
		   from_kuid_munged(seq_user_ns(seq), sk_uid(sk)));
	seq_printf(seq, " %8d %llu %d %pK %u", 0, (u64)sock_i_ino(sk),
		   refcount_read(&sk->sk_refcnt), sk, sk_drops_read(sk));
}

static int opener_show(struct seq_file *seq, void *v)
{
	const struct opener *opener;
	struct sock *sk = v;

	if (v == SEQ_START_TOKEN) {
		seq_puts(seq, "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when "
			 "retrnsmt   uid  timeout inode ref pointer drops");
		seq_puts(seq, " opener\n");
		return 0;
	}
	show_socket(seq, sk);
	rcu_read_lock();
	opener = klp_shadow_get(sk, OPENER_ID);
	if (!opener || !READ_ONCE(everywhere))
		seq_puts(seq, " -\n");
	else if (!opener->pid)
		seq_puts(seq, " ?\n");
	else
		seq_printf(seq, " %s[%d]\n", opener->comm, opener->pid);
	rcu_read_unlock();
	return 0;
}

static const char *name_of(const struct klp_object *obj)
{
	return obj->name ?: "vmlinux";
}

static void opener_post_patch(struct klp_object *obj)
{
	struct sock *sk;
	int slot;

	/* After an unpatching that was reversed there are fields of before, whose sockets may be gone. */
	klp_shadow_free_all(OPENER_ID, NULL);
	WRITE_ONCE(everywhere, true);
	spin_lock(&raw_v4_hashinfo.lock);
	for (slot = 0; slot < RAW_HTABLE_SIZE; slot++)
		sk_for_each(sk, &raw_v4_hashinfo.ht[slot])
			attach_to_existing(sk);
	spin_unlock(&raw_v4_hashinfo.lock);
	pr_info("post_patch: %s: attached to the sockets that were here\n", name_of(obj));
}

static void opener_pre_unpatch(struct klp_object *obj)
{
	WRITE_ONCE(everywhere, false);
	pr_info("pre_unpatch: %s\n", name_of(obj));
}

static void opener_post_unpatch(struct klp_object *obj)
{
	klp_shadow_free_all(OPENER_ID, NULL);
	pr_info("post_unpatch: %s: freed\n", name_of(obj));
}

static struct klp_func funcs[] = {
	{ .old_name = "raw_hash_sk", .new_func = opener_hash },
	{ .old_name = "raw_unhash_sk", .new_func = opener_unhash },
	{ .old_name = "raw_seq_show", .new_func = opener_show },
	{ }
};

static struct klp_object objs[] = {
	{
		.funcs = funcs,
		.callbacks = {
			.post_patch = opener_post_patch,
			.pre_unpatch = opener_pre_unpatch,
			.post_unpatch = opener_post_unpatch,
		},
	},
	{ }
};

static struct klp_state states[] = {
	{ .id = OPENER_ID, .version = 1 },
	{ }
};

static struct klp_patch patch = {
	.states = states,
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init ctwin_raw_opener_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit ctwin_raw_opener_exit(void)
{
}

module_init(ctwin_raw_opener_init);
module_exit(ctwin_raw_opener_exit);
MODULE_AUTHOR("The livepatch cookbook");
MODULE_DESCRIPTION("Show who opened each raw socket in /proc/net/raw");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");

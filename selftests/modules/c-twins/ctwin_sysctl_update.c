// SPDX-License-Identifier: GPL-2.0
/*
 * The twin of samples/sysctl-update: raises net.ipv4.tcp_challenge_ack_limit in every namespace that is at the
 * vulnerable default, and replaces the two functions that read it.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bsearch.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <net/tcp.h>
#include <net/tcp_ecn.h>

#define VULNERABLE	100
#define FIXED		1000

/* A namespace that was at the vulnerable default, named by its cookie because it may die at any time. */
struct candidate {
	u64 cookie;
	bool raised;
};

static struct candidate *candidates;
static size_t nr_candidates;

enum when { WHEN_PRE, WHEN_POST };

static const char * const when_words[] = {
	[WHEN_PRE] = "pre",
	[WHEN_POST] = "post",
};

static enum when when = WHEN_PRE;

static int set_when(const char *val, const struct kernel_param *kp)
{
	int word = sysfs_match_string(when_words, val);

	if (word < 0)
		return word;
	when = word;
	return 0;
}

static int get_when(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", when_words[when]);
}

static const struct kernel_param_ops when_ops = {
	.set = set_when,
	.get = get_when,
};
module_param_cb(when, &when_ops, NULL, 0444);
MODULE_PARM_DESC(when, "raise the limits before tasks use the new functions (pre) or after all of them do (post)");

static int by_cookie(const void *a, const void *b)
{
	const struct candidate *left = a, *right = b;

	return cmp_int(left->cookie, right->cookie);
}

/* The namespaces at the vulnerable default, under the lock that the kernel walks them with. */
static int collect(void)
{
	struct candidate *list = NULL, *larger;
	size_t count = 0, room = 0;
	struct net *net;

	down_read(&net_rwsem);
	for_each_net(net) {
		if (READ_ONCE(net->ipv4.sysctl_tcp_challenge_ack_limit) != VULNERABLE)
			continue;
		if (count == room) {
			room = room ? 2 * room : 4;
			larger = krealloc_array(list, room, sizeof(*list), GFP_KERNEL);
			if (!larger) {
				up_read(&net_rwsem);
				kfree(list);
				return -ENOMEM;
			}
			list = larger;
		}
		list[count++] = (struct candidate){ .cookie = net->net_cookie };
	}
	up_read(&net_rwsem);
	sort(list, count, sizeof(*list), by_cookie, NULL);
	candidates = list;
	nr_candidates = count;
	return 0;
}

static void swap_limits(int from, int to, bool raised)
{
	size_t count = 0;
	struct net *net;

	down_read(&net_rwsem);
	for_each_net(net) {
		struct candidate key = { .cookie = net->net_cookie }, *at;
		bool swapped;

		at = bsearch(&key, candidates, nr_candidates, sizeof(key), by_cookie);
		if (!at || at->raised == raised)
			continue;
		/* An administrator may write at this very moment; the exchange loses no write of his. */
		swapped = cmpxchg(&net->ipv4.sysctl_tcp_challenge_ack_limit, from, to) == from;
		at->raised = raised && swapped;
		count += swapped;
	}
	up_read(&net_rwsem);
	pr_info("%zu limits from %d to %d\n", count, from, to);
}

/* Raises the limit of each candidate that is alive and that nobody has changed meanwhile. */
static void raise(void)
{
	swap_limits(VULNERABLE, FIXED, true);
}

/* Gives back what raise() took, and only that. */
static void give_back(void)
{
	swap_limits(FIXED, VULNERABLE, false);
}

static const char *name_of(const struct klp_object *obj)
{
	return obj->name ?: "vmlinux";
}

static int limits_pre_patch(struct klp_object *obj)
{
	int err = collect();

	if (err)
		return err;
	pr_info("pre_patch: %s: %zu at %d\n", name_of(obj), nr_candidates, VULNERABLE);
	if (when == WHEN_PRE)
		raise();
	return 0;
}

static void limits_post_patch(struct klp_object *obj)
{
	pr_info("post_patch: %s: every task reads the limit once\n", name_of(obj));
	if (when == WHEN_POST)
		raise();
}

static void limits_pre_unpatch(struct klp_object *obj)
{
	pr_info("pre_unpatch: %s\n", name_of(obj));
	if (when == WHEN_POST)
		give_back();
}

static void limits_post_unpatch(struct klp_object *obj)
{
	pr_info("post_unpatch: %s\n", name_of(obj));
	give_back();
	kfree(candidates);
	candidates = NULL;
	nr_candidates = 0;
}

/* Whether an answer at *last forbids another one now; else notes the time. */
static bool is_rate_limited(struct net *net, u32 *last)
{
	u32 now = jiffies, before = READ_ONCE(*last);
	s32 elapsed = now - before;

	if (before && elapsed >= 0 && elapsed < READ_ONCE(net->ipv4.sysctl_tcp_invalid_ratelimit)) {
		NET_INC_STATS(net, LINUX_MIB_TCPACKSKIPPEDCHALLENGE);
		return true;
	}
	WRITE_ONCE(*last, now);
	return false;
}

/* Takes one challenge ACK from the budget of this second, which is random. */
static bool challenge_ack_allowed(struct net *net)
{
	/* Read once: a callback or an administrator may change the limit between two reads. */
	u32 limit = READ_ONCE(net->ipv4.sysctl_tcp_challenge_ack_limit), now, left;

	if (limit == INT_MAX)
		return true;
	now = jiffies / HZ;
	if (READ_ONCE(net->ipv4.tcp_challenge_timestamp) != now) {
		u32 half = DIV_ROUND_UP(limit, 2);
		u32 most = limit + half - 1;

		WRITE_ONCE(net->ipv4.tcp_challenge_timestamp, now);
		WRITE_ONCE(net->ipv4.tcp_challenge_count, get_random_u32_inclusive(half, max(half, most)));
	}
	left = READ_ONCE(net->ipv4.tcp_challenge_count);
	if (left)
		WRITE_ONCE(net->ipv4.tcp_challenge_count, left - 1);
	return left;
}

static void send_challenge_ack(struct sock *sk, bool accecn_reflector)
{
	struct tcp_sock *tp = tcp_sk(sk);
	struct net *net = sock_net(sk);

	if (is_rate_limited(net, &tp->last_oow_ack_time) || !challenge_ack_allowed(net))
		return;
	NET_INC_STATS(net, LINUX_MIB_TCPCHALLENGEACK);
	__tcp_send_ack(sk, tp->rcv_nxt,
		       accecn_reflector ? tcp_accecn_reflector_flags(tp->syn_ect_rcv) : 0);
}

static void reqsk_send_challenge_ack(struct sock *sk, struct sk_buff *skb, struct request_sock *req)
{
	struct net *net = sock_net(sk);

	if (is_rate_limited(net, &tcp_rsk(req)->last_oow_ack_time) || !challenge_ack_allowed(net))
		return;
	NET_INC_STATS(net, LINUX_MIB_TCPCHALLENGEACK);
	if (req->rsk_ops->send_ack)
		req->rsk_ops->send_ack(sk, skb, req);
}

static struct klp_func funcs[] = {
	{ .old_name = "tcp_send_challenge_ack", .new_func = send_challenge_ack },
	{ .old_name = "tcp_reqsk_send_challenge_ack", .new_func = reqsk_send_challenge_ack },
	{ }
};

static struct klp_object objs[] = {
	{
		.funcs = funcs,
		.callbacks = {
			.pre_patch = limits_pre_patch,
			.post_patch = limits_post_patch,
			.pre_unpatch = limits_pre_unpatch,
			.post_unpatch = limits_post_unpatch,
		},
	},
	{ }
};

static struct klp_state states[] = {
	{ .id = 0x61636b6c, .version = 1 },
	{ }
};

static struct klp_patch patch = {
	.states = states,
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init ctwin_sysctl_update_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit ctwin_sysctl_update_exit(void)
{
	/* A patch that was replaced still holds them. */
	kfree(candidates);
}

module_init(ctwin_sysctl_update_init);
module_exit(ctwin_sysctl_update_exit);
MODULE_AUTHOR("The livepatch cookbook");
MODULE_DESCRIPTION("Raise tcp_challenge_ack_limit and make its budget unpredictable");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");

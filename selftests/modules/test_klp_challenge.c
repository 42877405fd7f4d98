// SPDX-License-Identifier: GPL-2.0
/*
 * Observes how the budget of challenge ACKs is drawn, by the kernel's function or by one that replaces it.
 *
 * A write to /proc/test_klp_challenge forgets the draws and makes the writer's namespace draw a new budget for the next
 * challenge ACK. A read tells how many draws there were and, of the last, the least budget and how many there are to
 * choose from (0 for any u32).
 */

#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <net/net_namespace.h>

struct draw {
	u32 ceil;
};

static u32 draws, ceil, drawn;

static bool by_challenge_ack(unsigned long caller)
{
	char name[KSYM_SYMBOL_LEN];

	sprint_symbol(name, caller);
	return strstr(name, "challenge_ack") || strstr(name, "[sysctl_update]");
}

static int on_entry(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct draw *draw = (struct draw *)instance->data;

	draw->ceil = regs_get_kernel_argument(regs, 0);
	return 0;
}

static int on_return(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct draw *draw = (struct draw *)instance->data;

	/* Not known on entry yet. */
	if (!by_challenge_ack(get_kretprobe_retaddr(instance)))
		return 0;
	ceil = draw->ceil;
	drawn = regs_return_value(regs);
	draws++;
	return 0;
}

static struct kretprobe probe = {
	.kp.symbol_name = "__get_random_u32_below",
	.entry_handler = on_entry,
	.handler = on_return,
	.data_size = sizeof(struct draw),
};

static int show(struct seq_file *seq, void *v)
{
	struct net *net = current->nsproxy->net_ns;
	u32 left = READ_ONCE(net->ipv4.tcp_challenge_count);

	/* One of the budget was sent: what was left and it, less the draw, is what every budget has. */
	if (draws)
		seq_printf(seq, "draws %u least %u choices %u\n", draws, left + 1 - drawn, ceil);
	else
		seq_puts(seq, "draws 0\n");
	return 0;
}

static int challenge_open(struct inode *inode, struct file *file)
{
	return single_open(file, show, NULL);
}

static ssize_t challenge_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct net *net = current->nsproxy->net_ns;

	draws = 0;
	/* A second that is not this one. */
	WRITE_ONCE(net->ipv4.tcp_challenge_timestamp, jiffies / HZ - 1);
	return len;
}

static const struct proc_ops challenge_ops = {
	.proc_open = challenge_open,
	.proc_read = seq_read,
	.proc_write = challenge_write,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

static int __init test_klp_challenge_init(void)
{
	int err = register_kretprobe(&probe);

	if (err)
		return err;
	if (!proc_create("test_klp_challenge", 0600, NULL, &challenge_ops)) {
		unregister_kretprobe(&probe);
		return -ENOMEM;
	}
	return 0;
}

static void __exit test_klp_challenge_exit(void)
{
	remove_proc_entry("test_klp_challenge", NULL);
	unregister_kretprobe(&probe);
}

module_init(test_klp_challenge_init);
module_exit(test_klp_challenge_exit);
MODULE_DESCRIPTION("Livepatch test: how the budget of challenge ACKs is drawn");
MODULE_LICENSE("GPL");

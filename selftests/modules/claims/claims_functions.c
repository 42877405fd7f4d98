// SPDX-License-Identifier: GPL-2.0
/*
 * A target that waits where it is told to: in its init, in its exit, and, so that a signal ends it, in a function that is
 * patched. /proc/claims_target shows what its functions answer.
 *
 * In C because livepatch reaches a function through ftrace, and rustc emits no __fentry__.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/compiler.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/wait.h>

#include "claims_target.h"

int claims_split(int n);

static DECLARE_WAIT_QUEUE_HEAD(gate);
static char wait_in[8];

static int wait_in_set(const char *val, const struct kernel_param *kp)
{
	int ret = param_set_copystring(val, kp);

	wake_up_all(&gate);
	return ret;
}

static const struct kernel_param_ops wait_in_ops = {
	.set = wait_in_set,
	.get = param_get_string,
};

static struct kparam_string wait_in_string = {
	.maxlen = sizeof(wait_in),
	.string = wait_in,
};

module_param_cb(wait_in, &wait_in_ops, &wait_in_string, 0644);
MODULE_PARM_DESC(wait_in, "where to wait until it is something else: init, read or exit");

static bool fail;
module_param(fail, bool, 0);
MODULE_PARM_DESC(fail, "whether init fails, when all is made that it makes");

static bool waits_in(const char *where)
{
	return sysfs_streq(wait_in, where);
}

/* A fake signal ends this sleep, and the read starts again. */
static noinline int claims_sleep(void)
{
	int ret = wait_event_interruptible(gate, !waits_in("read"));

	OPTIMIZER_HIDE_VAR(ret);
	return ret;
}

static int numbers[] = { 5, 6, 7 };
/* Variables: for a constant the compiler would make copies of their own. */
static int low = 1, high = 10;

static noinline int number(int i)
{
	return READ_ONCE(numbers[i % ARRAY_SIZE(numbers)]);
}

// ANCHOR: split
/* GCC copies the first test into the callers below and calls the rest by a name of its own, claims_split.part.0. */
int claims_split(int n)
{
	int sum = 0;

	if (likely(n < 10))
		return n;
	for (int i = 0; i < 3; i++)
		sum += number(i) * number(i + n) + number(n) / (i + 2) - number(i * n);
	return sum;
}

static noinline int split_below(int n)
{
	return claims_split(n) + 100;
}

static noinline int split_above(int n)
{
	return claims_split(n) + 200;
}
// ANCHOR_END: split

static noinline int claims_twin(void)
{
	return number(0);
}

static int claims_target_show(struct seq_file *m, void *unused)
{
	int ret = claims_sleep();

	if (ret < 0)
		return ret;
	seq_printf(m, "sleep %d\ntwin %d\nsplit %d %d\n", ret, claims_twin(), split_below(READ_ONCE(low)),
		   split_above(READ_ONCE(high)));
	return 0;
}

static int __init claims_target_init(void)
{
	if (!proc_create_single(KBUILD_MODNAME, 0444, NULL, claims_target_show))
		return -ENOMEM;
	pr_info("init: twin %d\n", claims_init_twin());
	wait_event(gate, !waits_in("init"));
	if (fail) {
		remove_proc_entry(KBUILD_MODNAME, NULL);
		pr_info("init fails\n");
		return -ENODEV;
	}
	return 0;
}

static void __exit claims_target_exit(void)
{
	pr_info("exit\n");
	wait_event(gate, !waits_in("exit"));
	remove_proc_entry(KBUILD_MODNAME, NULL);
}

module_init(claims_target_init);
module_exit(claims_target_exit);
MODULE_DESCRIPTION("Livepatch test: a target that waits where it is told to");
MODULE_LICENSE("GPL");

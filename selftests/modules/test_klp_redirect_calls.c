// SPDX-License-Identifier: GPL-2.0
/*
 * The target of test_klp_redirect: calls a routine in assembly from many tasks and counts the answers,
 * and measures what a call costs. Parameters:
 *
 *   storm    write the number of tasks, 0 ends them
 *   answers  read: calls that gave the old answer, the new one, and neither
 *   cost     read: nanoseconds for 1000 calls of the routine and of the same function in C
 *   stay     Y: the module's exit waits for N
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/sched.h>

#define MAX_TASKS 64

u64 test_redirect_sum(u64 a, u64 b);
u64 test_redirect_plain(u64 a, u64 b);
extern u64 test_redirect_data;

static struct task_struct *tasks[MAX_TASKS];
static unsigned int running;
static atomic64_t old_answers, new_answers, no_answers;

/* The same as the routine, where ftrace reaches it. */
noinline u64 test_redirect_plain(u64 a, u64 b)
{
	barrier();
	return a + b;
}

/* The other one is in test_klp_redirect_asm.S. __used, or gcc makes a copy of another name. */
static noinline notrace __used int test_redirect_twice(void)
{
	barrier();
	return 1;
}

u64 test_redirect_data = 1;

static int storm(void *unused)
{
	u64 a = ktime_get_ns(), b, answer;
	int i;

	/* The calls shall not keep the test itself from the processors. */
	set_user_nice(current, MAX_NICE);
	while (!kthread_should_stop()) {
		s64 old = 0, new = 0, none = 0;

		for (i = 0; i < 100; i++) {
			a = a * 6364136223846793005ULL + 1442695040888963407ULL;
			b = (a >> 33) | 1;	/* not zero, so that the answers differ */
			answer = test_redirect_sum(a, b);
			if (answer == a + b)
				old++;
			else if (answer == a - b)
				new++;
			else
				none++;
		}
		atomic64_add(old, &old_answers);
		atomic64_add(new, &new_answers);
		atomic64_add(none, &no_answers);
		usleep_range(200, 400);
	}
	return 0;
}

static void end_storm(void)
{
	while (running)
		kthread_stop(tasks[--running]);
}

static int set_storm(const char *val, const struct kernel_param *kp)
{
	unsigned int wanted;
	int err = kstrtouint(val, 0, &wanted);

	if (err)
		return err;
	if (wanted > MAX_TASKS)
		return -EINVAL;
	end_storm();
	if (wanted) {
		atomic64_set(&old_answers, 0);
		atomic64_set(&new_answers, 0);
		atomic64_set(&no_answers, 0);
	}
	while (running < wanted) {
		struct task_struct *task = kthread_run(storm, NULL, "klp_storm/%u", running);

		if (IS_ERR(task)) {
			end_storm();
			return PTR_ERR(task);
		}
		tasks[running++] = task;
	}
	return 0;
}

static const struct kernel_param_ops storm_ops = {
	.set = set_storm,
	.get = param_get_uint,
};
module_param_cb(storm, &storm_ops, &running, 0644);
MODULE_PARM_DESC(storm, "tasks that call the routine");

static int get_answers(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%lld %lld %lld\n", atomic64_read(&old_answers),
			  atomic64_read(&new_answers), atomic64_read(&no_answers));
}

static const struct kernel_param_ops answers_ops = {
	.get = get_answers,
};
module_param_cb(answers, &answers_ops, NULL, 0444);
MODULE_PARM_DESC(answers, "old, new and other answers so far");

/* For 1000 calls, the best of several tries: whatever else runs can only make it more. */
static u64 nanoseconds(u64 (*function)(u64 a, u64 b))
{
	u64 best = U64_MAX, start;
	int try, i;

	for (try = 0; try < 50; try++) {
		start = ktime_get_ns();
		for (i = 0; i < 1000; i++)
			function(i, 1);
		best = min(best, ktime_get_ns() - start);
	}
	return best;
}

static int get_cost(char *buffer, const struct kernel_param *kp)
{
	u64 assembly = nanoseconds(test_redirect_sum);

	return sysfs_emit(buffer, "%llu %llu\n", assembly, nanoseconds(test_redirect_plain));
}

static const struct kernel_param_ops cost_ops = {
	.get = get_cost,
};
module_param_cb(cost, &cost_ops, NULL, 0444);
MODULE_PARM_DESC(cost, "nanoseconds for 1000 calls of the routine, and of a function in C");

static bool stay;
module_param(stay, bool, 0644);
MODULE_PARM_DESC(stay, "the module's exit waits");

static int __init test_klp_redirect_target_init(void)
{
	return test_redirect_twice() + test_redirect_data == 2 ? 0 : -EINVAL;
}

static void __exit test_klp_redirect_target_exit(void)
{
	end_storm();
	while (READ_ONCE(stay))
		msleep(20);
}

module_init(test_klp_redirect_target_init);
module_exit(test_klp_redirect_target_exit);
MODULE_AUTHOR("The livepatch cookbook");
MODULE_DESCRIPTION("Livepatch test: assembly to redirect, and tasks that call it");
MODULE_LICENSE("GPL");

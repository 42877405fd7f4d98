/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parameter "open" of a target that can hold a transition up. A file that includes this is a module of its own.
 */

#include <linux/moduleparam.h>
#include <linux/wait.h>

static DECLARE_WAIT_QUEUE_HEAD(gate);
static bool open = true;

static int open_set(const char *val, const struct kernel_param *kp)
{
	int ret = param_set_bool(val, kp);

	wake_up_all(&gate);
	return ret;
}

static const struct kernel_param_ops open_ops = {
	.set = open_set,
	.get = param_get_bool,
};

module_param_cb(open, &open_ops, &open, 0644);

/* A livepatch transition sends its fake signal after a while, which only a killable sleep outlasts. */
static __always_inline int wait_for_open(void)
{
	return wait_event_killable(gate, READ_ONCE(open));
}

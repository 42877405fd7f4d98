// SPDX-License-Identifier: GPL-2.0
/*
 * Teaches lockdep that whoever waits for a module waits for klp_mutex.
 *
 * request_module() waits for a user-mode helper, and the module that this one loads takes klp_mutex in
 * klp_module_coming(). The two are different tasks and the wait between them is no lock, so lockdep sees no order. While
 * this module is loaded, each request counts as if the task itself took klp_mutex and released it again: where it holds a
 * lock that a livepatch's callback takes, too, the kernel prints a circular dependency as soon as both ways were gone
 * once, in whatever order and however long apart.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kprobes.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/tracepoint.h>

#ifdef CONFIG_LOCKDEP

static struct mutex *klp_mutex;
static struct tracepoint *request;

/* The tracepoint module:module_request, at which __request_module() may still sleep. */
static void counts_as_klp_mutex(void *data, char *name, bool wait, unsigned long ip)
{
	/* Whoever does not wait may hold what he likes. */
	if (!wait)
		return;
	mutex_acquire(&klp_mutex->dep_map, 0, 0, ip);
	mutex_release(&klp_mutex->dep_map, ip);
}

static void find_request(struct tracepoint *tp, void *data)
{
	if (!strcmp(tp->name, "module_request"))
		request = tp;
}

/* klp_mutex is not exported, and neither is the function that finds it; but a kprobe is told its address. */
static void *lookup(const char *name)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long (*kallsyms_lookup_name)(const char *name);
	int err = register_kprobe(&probe);

	if (err)
		return NULL;
	kallsyms_lookup_name = (void *)probe.addr;
	unregister_kprobe(&probe);
	return (void *)kallsyms_lookup_name(name);
}

static int __init test_klp_lock_order_init(void)
{
	klp_mutex = lookup("klp_mutex");
	for_each_kernel_tracepoint(find_request, NULL);
	if (!klp_mutex || !request)
		return -ENOENT;
	return tracepoint_probe_register(request, counts_as_klp_mutex, NULL);
}

static void __exit test_klp_lock_order_exit(void)
{
	tracepoint_probe_unregister(request, counts_as_klp_mutex, NULL);
	tracepoint_synchronize_unregister();
}

#else

static int __init test_klp_lock_order_init(void)
{
	return -EOPNOTSUPP;
}

static void __exit test_klp_lock_order_exit(void)
{
}

#endif

module_init(test_klp_lock_order_init);
module_exit(test_klp_lock_order_exit);
MODULE_DESCRIPTION("Livepatch test: to wait for a module counts as taking klp_mutex");
MODULE_LICENSE("GPL");

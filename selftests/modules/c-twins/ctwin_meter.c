// SPDX-License-Identifier: GPL-2.0
/*
 * Measures the callbacks of livepatches, whatever they are written in: where klp_enable_patch() begins, the
 * callbacks of the patch are put aside and ones of our own take their place, which count around the call.
 *
 *   callbacks   read: for each callback its name, ticks of the processor's counter, bytes that it holds on to
 *               (below zero: gave back), calls of the allocator; sums over the objects, since the patch was loaded
 *   cost        write the name of a function of the type u64 (u64), `symbol` or `module:symbol`;
 *               read: ticks for 1000 calls of it
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kprobes.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/timex.h>
#include <trace/events/kmem.h>

#define MAX_OBJECTS 8

enum { PRE_PATCH, POST_PATCH, PRE_UNPATCH, POST_UNPATCH, NR_CALLBACKS };

static const char * const names[NR_CALLBACKS] = {
	"pre_patch", "post_patch", "pre_unpatch", "post_unpatch",
};

struct sum {
	u64 ticks;
	s64 bytes;
	u64 calls;
};

static struct sum sums[NR_CALLBACKS];

/* What the callbacks of an object were before. */
static struct saved {
	struct klp_object *obj;
	struct klp_callbacks callbacks;
} saved[MAX_OBJECTS];

static struct klp_callbacks *callbacks_of(struct klp_object *obj)
{
	int i;

	for (i = 0; i < MAX_OBJECTS; i++)
		if (saved[i].obj == obj)
			return &saved[i].callbacks;
	return NULL;
}

/* The task whose allocations count, and into what. Callbacks run one at a time, under klp_mutex. */
static struct task_struct *counted;
static struct sum *into;

static void on_alloc(size_t bytes)
{
	if (READ_ONCE(counted) != current || !in_task())
		return;
	into->bytes += bytes;
	into->calls++;
}

static void on_kmalloc(void *data, unsigned long call_site, const void *ptr, size_t bytes_req,
		       size_t bytes_alloc, gfp_t gfp_flags, int node)
{
	if (ptr)
		on_alloc(bytes_alloc);
}

static void on_kfree(void *data, unsigned long call_site, const void *ptr)
{
	if (READ_ONCE(counted) == current && in_task() && !ZERO_OR_NULL_PTR(ptr))
		into->bytes -= ksize(ptr);
}

static u64 begin(int which)
{
	into = &sums[which];
	WRITE_ONCE(counted, current);
	return rdtsc_ordered();
}

static void end(int which, u64 start)
{
	sums[which].ticks += rdtsc_ordered() - start;
	WRITE_ONCE(counted, NULL);
}

static int measure_pre_patch(struct klp_object *obj)
{
	u64 start = begin(PRE_PATCH);
	int ret = callbacks_of(obj)->pre_patch(obj);

	end(PRE_PATCH, start);
	return ret;
}

static void measure_post_patch(struct klp_object *obj)
{
	u64 start = begin(POST_PATCH);

	callbacks_of(obj)->post_patch(obj);
	end(POST_PATCH, start);
}

static void measure_pre_unpatch(struct klp_object *obj)
{
	u64 start = begin(PRE_UNPATCH);

	callbacks_of(obj)->pre_unpatch(obj);
	end(PRE_UNPATCH, start);
}

static void measure_post_unpatch(struct klp_object *obj)
{
	u64 start = begin(POST_UNPATCH);

	callbacks_of(obj)->post_unpatch(obj);
	end(POST_UNPATCH, start);
}

/* klp_enable_patch() begins: nobody else knows the patch yet. */
static int on_enable(struct kprobe *probe, struct pt_regs *regs)
{
	struct klp_patch *patch = (struct klp_patch *)regs_get_kernel_argument(regs, 0);
	struct klp_object *obj;
	int i = 0;

	memset(sums, 0, sizeof(sums));
	memset(saved, 0, sizeof(saved));
	for (obj = patch->objs; (obj->funcs || obj->name) && i < MAX_OBJECTS; obj++, i++) {
		struct klp_callbacks *callbacks = &obj->callbacks;

		saved[i].obj = obj;
		saved[i].callbacks = *callbacks;
		if (callbacks->pre_patch)
			callbacks->pre_patch = measure_pre_patch;
		if (callbacks->post_patch)
			callbacks->post_patch = measure_post_patch;
		if (callbacks->pre_unpatch)
			callbacks->pre_unpatch = measure_pre_unpatch;
		if (callbacks->post_unpatch)
			callbacks->post_unpatch = measure_post_unpatch;
	}
	return 0;
}

static struct kprobe enable_probe = {
	.symbol_name = "klp_enable_patch",
	.pre_handler = on_enable,
};

static int get_callbacks(char *buffer, const struct kernel_param *kp)
{
	int i, len = 0;

	for (i = 0; i < NR_CALLBACKS; i++)
		len += sysfs_emit_at(buffer, len, "%s %llu %lld %llu\n", names[i], sums[i].ticks,
				     sums[i].bytes, sums[i].calls);
	return len;
}

static const struct kernel_param_ops callbacks_ops = {
	.get = get_callbacks,
};
module_param_cb(callbacks, &callbacks_ops, NULL, 0444);
MODULE_PARM_DESC(callbacks, "ticks, bytes and allocations of the last patch's callbacks");

static u64 (*function)(u64 value);

/* kallsyms_lookup_name() is not exported; a kprobe that is never armed knows the address as well. */
static int set_cost(const char *val, const struct kernel_param *kp)
{
	struct kprobe probe = { .flags = KPROBE_FLAG_DISABLED };
	char *name = kstrdup(val, GFP_KERNEL);
	int err;

	if (!name)
		return -ENOMEM;
	probe.symbol_name = strim(name);
	err = register_kprobe(&probe);
	if (!err) {
		function = (void *)probe.addr;
		unregister_kprobe(&probe);
	}
	kfree(name);
	return err;
}

static int get_cost(char *buffer, const struct kernel_param *kp)
{
	u64 start;
	int i;

	if (!function)
		return -ENODATA;
	start = rdtsc_ordered();
	for (i = 0; i < 1000; i++)
		function(i);
	return sysfs_emit(buffer, "%llu\n", rdtsc_ordered() - start);
}

static const struct kernel_param_ops cost_ops = {
	.set = set_cost,
	.get = get_cost,
};
module_param_cb(cost, &cost_ops, NULL, 0644);
MODULE_PARM_DESC(cost, "ticks for 1000 calls of the function that was written");

static int __init ctwin_meter_init(void)
{
	int err = register_trace_kmalloc(on_kmalloc, NULL);

	if (err)
		return err;
	err = register_trace_kfree(on_kfree, NULL);
	if (err)
		goto no_kfree;
	err = register_kprobe(&enable_probe);
	if (err)
		goto no_probe;
	return 0;

no_probe:
	unregister_trace_kfree(on_kfree, NULL);
no_kfree:
	unregister_trace_kmalloc(on_kmalloc, NULL);
	tracepoint_synchronize_unregister();
	return err;
}

/* To be removed only when no patch is loaded whose callbacks are measured. */
static void __exit ctwin_meter_exit(void)
{
	unregister_kprobe(&enable_probe);
	unregister_trace_kfree(on_kfree, NULL);
	unregister_trace_kmalloc(on_kmalloc, NULL);
	tracepoint_synchronize_unregister();
}

module_init(ctwin_meter_init);
module_exit(ctwin_meter_exit);
MODULE_AUTHOR("The livepatch cookbook");
MODULE_DESCRIPTION("Livepatch test: measures the callbacks of livepatches");
MODULE_LICENSE("GPL");

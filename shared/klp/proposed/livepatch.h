/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What klp takes of <linux/livepatch.h>, as it is proposed: callbacks belong to states. In place of the kernel's header, by
 * KLP_LIVEPATCH_H of klp.mk. For compiling only: no kernel has these structures, so that no kernel takes the modules.
 *
 * Proposal: https://lore.kernel.org/r/20250115082431.5550-1-pmladek@suse.com
 */
#ifndef _LINUX_LIVEPATCH_H_
#define _LINUX_LIVEPATCH_H_

#include <linux/completion.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/workqueue.h>

struct klp_patch;
struct klp_state;

/* As in 7.2. */
struct klp_func {
	const char *old_name;
	void *new_func;
	unsigned long old_sympos;

	void *old_func;
	struct kobject kobj;
	struct list_head node, stack_node;
	unsigned long old_size, new_size;
	bool nop, patched, transition;
};

/* Has no callbacks. */
struct klp_object {
	const char *name;
	struct klp_func *funcs;

	struct kobject kobj;
	struct list_head func_list, node;
	struct module *mod;
	bool dynamic, patched;
};

typedef int (*klp_shadow_ctor_t)(void *obj, void *shadow_data, void *ctor_data);
typedef void (*klp_shadow_dtor_t)(void *obj, void *shadow_data);

/* Called when the state comes or goes with the patch: when no other patch has it. */
struct klp_state_callbacks {
	int (*pre_patch)(struct klp_patch *patch, struct klp_state *state);
	void (*post_patch)(struct klp_patch *patch, struct klp_state *state);
	void (*pre_unpatch)(struct klp_patch *patch, struct klp_state *state);
	void (*post_unpatch)(struct klp_patch *patch, struct klp_state *state);
	klp_shadow_dtor_t shadow_dtor;
	bool pre_patch_succeeded;
};

/* Has neither a version nor data: shadow variables of its id, which go with it where is_shadow is set. */
struct klp_state {
	unsigned long id;
	struct klp_state_callbacks callbacks;
	bool block_disable, is_shadow;
};

/* As in 7.2. */
struct klp_patch {
	struct module *mod;
	struct klp_object *objs;
	struct klp_state *states;
	bool replace;

	struct list_head list;
	struct kobject kobj;
	struct list_head obj_list;
	bool enabled, forced;
	struct work_struct free_work;
	struct completion finish;
};

int klp_enable_patch(struct klp_patch *patch);
struct klp_state *klp_get_prev_state(unsigned long id);

void *klp_shadow_get(void *obj, unsigned long id);
void *klp_shadow_alloc(void *obj, unsigned long id, size_t size, gfp_t gfp_flags,
		       klp_shadow_ctor_t ctor, void *ctor_data);
void *klp_shadow_get_or_alloc(void *obj, unsigned long id, size_t size, gfp_t gfp_flags,
			      klp_shadow_ctor_t ctor, void *ctor_data);
void klp_shadow_free(void *obj, unsigned long id, klp_shadow_dtor_t dtor);
void klp_shadow_free_all(unsigned long id, klp_shadow_dtor_t dtor);

#endif

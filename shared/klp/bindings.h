/* SPDX-License-Identifier: GPL-2.0 */
/* What the crate takes from the kernel beyond `kernel::bindings`; bindgen reads it, nothing includes it. */

#include <linux/kprobes.h>
#include <linux/livepatch.h>
#include <linux/static_call.h>

#ifdef KLP_STATE_CALLBACKS
/* Those of an object are klp's own here: src/per_state.rs calls them. */
struct klp_callbacks {
	int (*pre_patch)(struct klp_object *obj);
	void (*post_patch)(struct klp_object *obj);
	void (*pre_unpatch)(struct klp_object *obj);
	void (*post_unpatch)(struct klp_object *obj);
	bool post_unpatch_enabled; /* they must not be those of a state that another patch has, too */
};
#endif

/* From 7.3 on the two are in unions (with CFI in structures) without a name, which each bindgen calls as it likes. */
static const size_t klp_offset_of_show = offsetof(struct kobj_attribute, show);
static const size_t klp_offset_of_store = offsetof(struct kobj_attribute, store);

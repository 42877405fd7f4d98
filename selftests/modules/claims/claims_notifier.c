// SPDX-License-Identifier: GPL-2.0
/*
 * Refuses claims_target, as any module's notifier may.
 *
 * In C because the kernel crate has no notifier of modules.
 */

#include <linux/module.h>
#include <linux/notifier.h>

static int claims_notify(struct notifier_block *nb, unsigned long state, void *module)
{
	const struct module *mod = module;

	if (state == MODULE_STATE_COMING && !strcmp(mod->name, "claims_target"))
		return notifier_from_errno(-EPERM);
	return NOTIFY_DONE;
}

static struct notifier_block claims_nb = { .notifier_call = claims_notify };

static int __init claims_notifier_init(void)
{
	return register_module_notifier(&claims_nb);
}

static void __exit claims_notifier_exit(void)
{
	unregister_module_notifier(&claims_nb);
}

module_init(claims_notifier_init);
module_exit(claims_notifier_exit);
MODULE_DESCRIPTION("Livepatch test: a notifier that refuses a module");
MODULE_LICENSE("GPL");

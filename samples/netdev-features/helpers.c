// SPDX-License-Identifier: GPL-2.0

#include <linux/module.h>
#include <linux/netdevice.h>
#include <net/netdev_lock.h>

bool rust_helper_within_module(unsigned long addr, const struct module *mod)
{
	return within_module(addr, mod);
}

void rust_helper_netdev_lock_ops(struct net_device *dev)
{
	netdev_lock_ops(dev);
}

void rust_helper_netdev_unlock_ops(struct net_device *dev)
{
	netdev_unlock_ops(dev);
}

int rust_helper_notifier_from_errno(int err)
{
	return notifier_from_errno(err);
}

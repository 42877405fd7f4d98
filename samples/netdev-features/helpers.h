/* SPDX-License-Identifier: GPL-2.0 */
/* Inline functions of the kernel as functions that Rust can call; see helpers.c. */

#include <linux/netdevice.h>

bool rust_helper_within_module(unsigned long addr, const struct module *mod);
void rust_helper_netdev_lock_ops(struct net_device *dev);
void rust_helper_netdev_unlock_ops(struct net_device *dev);
int rust_helper_notifier_from_errno(int err);

/* SPDX-License-Identifier: GPL-2.0 */
/* What the module takes from the kernel beyond the `kernel` crate; bindgen reads it, nothing includes it. */

#include <linux/netdevice.h>
#include <linux/rtnetlink.h>

#include "../../../../samples/netdev-features/helpers.c"

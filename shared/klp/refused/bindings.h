/* SPDX-License-Identifier: GPL-2.0 */
/* A function that a header declares; bindgen reads it, nothing includes it. */

#include <linux/netdevice.h>

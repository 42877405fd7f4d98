/* SPDX-License-Identifier: GPL-2.0 */
/* What the sample takes from the kernel beyond the `kernel` crate; bindgen reads it, nothing includes it. */

#include <linux/tcp.h>
#include <linux/snmp.h>
#include <net/net_namespace.h>
#include <net/tcp.h>

#include "helpers.c"

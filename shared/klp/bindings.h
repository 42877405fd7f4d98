/* SPDX-License-Identifier: GPL-2.0 */
/* What the crate takes from the kernel beyond `kernel::bindings`; bindgen reads it, nothing includes it. */

#include <linux/kprobes.h>
#include <linux/livepatch.h>
#include <linux/static_call.h>

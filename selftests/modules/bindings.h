/* SPDX-License-Identifier: GPL-2.0 */
/* What the modules of this folder take from the kernel beyond `kernel::bindings`; see `bindings-flags` in Kbuild. */

#include <linux/kprobes.h>
#include <linux/proc_fs.h>

/* SPDX-License-Identifier: GPL-2.0 */
/* The parts of fs/proc/uptime.c that consist of inline functions and macros; see helpers.c. */

#include <linux/seq_file.h>
#include <linux/types.h>

u64 rust_helper_uptime_ns(void);
u64 rust_helper_idle_ns(void);
bool rust_helper_opened_by_admin(struct seq_file *seq);

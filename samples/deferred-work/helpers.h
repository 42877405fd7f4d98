/* SPDX-License-Identifier: GPL-2.0 */
/* The parts of fs/proc/softirqs.c that consist of inline functions and macros; see helpers.c. */

#include <linux/interrupt.h>
#include <linux/seq_file.h>

u32 rust_helper_softirqs(unsigned int kind);
void rust_helper_softirqs_heading(struct seq_file *seq);
void rust_helper_softirqs_line(struct seq_file *seq, unsigned int kind);

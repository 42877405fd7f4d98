/* SPDX-License-Identifier: GPL-2.0 */
/* What Rust cannot say, as functions that it can call; see helpers.c. */

#include <linux/types.h>

int rust_helper_rdmsr_regs(u32 gprs[8]);

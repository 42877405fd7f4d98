/* SPDX-License-Identifier: GPL-2.0 */
/* What the sample takes from the kernel beyond the `kernel` crate; bindgen reads it, nothing includes it. */

#include <linux/compat.h>
#include <linux/pagemap.h>
#include <linux/signal.h>
#include <linux/stddef.h>

/* What waitid() writes: not the whole structure, si_status is the last field. */
enum {
	INFO_LEN = offsetofend(struct siginfo, si_status),
#ifdef CONFIG_COMPAT
	COMPAT_INFO_LEN = offsetofend(struct compat_siginfo, si_status),
#endif
};

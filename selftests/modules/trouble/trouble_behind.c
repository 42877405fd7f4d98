// SPDX-License-Identifier: GPL-2.0
/* What is behind the table of trouble_unended.c. */

#include <linux/livepatch.h>

struct klp_func trouble_behind[] __section(".data.trouble") __aligned(8) = {
	{ .old_name = "trouble_behind", .new_func = trouble_behind },
	{}
};

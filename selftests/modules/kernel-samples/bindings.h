/* SPDX-License-Identifier: GPL-2.0 */

#include <linux/jiffies.h>
#include <linux/types.h>

/* As in the file that livepatch-shadow-mod.c is: it has no header. */
struct dummy {
	struct list_head list;
	unsigned long jiffies_expire;
};

unsigned long dummy_expires(void);

// SPDX-License-Identifier: GPL-2.0

#include "bindings.h"

/* When a dummy that is allocated now expires, as livepatch-shadow-mod.c has it. */
unsigned long dummy_expires(void)
{
	return jiffies + secs_to_jiffies(12);
}

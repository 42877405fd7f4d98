// SPDX-License-Identifier: GPL-2.0
/* A function that has gone when the init is over, and shares its name with one that stays. */

#include <linux/compiler.h>
#include <linux/init.h>

#include "claims_target.h"

static int __initdata answer = 1;

static noinline int __init claims_twin(void)
{
	return READ_ONCE(answer);
}

int __init claims_init_twin(void)
{
	return claims_twin();
}

// SPDX-License-Identifier: GPL-2.0
/* The second static function of one name, in a file of its own as static functions of one name are. */

#include <linux/compiler.h>

#include "trouble_twin.h"

static int answer = 2;

static noinline int trouble_twin(void)
{
	return READ_ONCE(answer);
}

int trouble_second(void)
{
	return trouble_twin();
}

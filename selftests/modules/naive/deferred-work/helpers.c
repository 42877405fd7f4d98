// SPDX-License-Identifier: GPL-2.0
/* The same as the sample's. */

#include "../../../../samples/deferred-work/helpers.c"

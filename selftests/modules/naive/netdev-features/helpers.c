// SPDX-License-Identifier: GPL-2.0

#include "../../../../samples/netdev-features/helpers.c"

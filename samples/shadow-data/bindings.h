/* SPDX-License-Identifier: GPL-2.0 */
/* What the sample takes from the kernel beyond the `kernel` crate; bindgen reads it, nothing includes it. */

#include "helpers.c"

/* SPDX-License-Identifier: GPL-2.0 */
#ifndef CLAIMS_TARGET_H
#define CLAIMS_TARGET_H

/* Calls the __init function claims_twin() of its own file. */
int claims_init_twin(void);

#endif

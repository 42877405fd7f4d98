/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TROUBLE_TWIN_H
#define TROUBLE_TWIN_H

/* Each calls the static function trouble_twin() of its own file. */
int trouble_first(void);
int trouble_second(void);

#endif

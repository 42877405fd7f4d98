/* SPDX-License-Identifier: GPL-2.0 */
/* The parts of net/ipv4/raw.c that consist of inline functions and macros; see helpers.c. */

#include <linux/seq_file.h>
#include <net/sock.h>

void rust_helper_raw_hash(struct sock *sk);
void rust_helper_raw_unhash(struct sock *sk);
void rust_helper_raw_for_each(void (*visit)(struct sock *sk, void *data), void *data);
void rust_helper_raw_show(struct seq_file *seq, struct sock *sk);

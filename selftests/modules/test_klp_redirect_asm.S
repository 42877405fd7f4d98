/* SPDX-License-Identifier: GPL-2.0 */
/* Routines for test_klp_redirect: one to redirect, and some that must be refused. */

#include <linux/linkage.h>
#ifdef CONFIG_ARM64
#include <asm/assembler.h>
#define SUM add x0, x0, x1
#define RET ret
#define _ASM_NOKPROBE(name) NOKPROBE(name)
#else
#include <asm/asm.h>
#define SUM lea (%rdi, %rsi), %rax
#endif

/* u64 test_redirect_sum(u64 a, u64 b): a + b; the replacement gives a - b */
SYM_FUNC_START(test_redirect_sum)
	SUM
	RET
SYM_FUNC_END(test_redirect_sum)

/* Another one of that name is in test_klp_redirect_calls.c. */
SYM_FUNC_START_LOCAL(test_redirect_twice)
	SUM
	RET
SYM_FUNC_END(test_redirect_twice)

SYM_FUNC_START(test_redirect_nokprobe)
	SUM
	RET
SYM_FUNC_END(test_redirect_nokprobe)
_ASM_NOKPROBE(test_redirect_nokprobe)

.pushsection .noinstr.text, "ax"
SYM_FUNC_START(test_redirect_noinstr)
	SUM
	RET
SYM_FUNC_END(test_redirect_noinstr)
.popsection

/* SPDX-License-Identifier: GPL-2.0 */
/* Routines for test_klp_redirect: one to redirect, and some that must be refused. */

#include <linux/linkage.h>
#include <asm/asm.h>

/* u64 test_redirect_sum(u64 a, u64 b): a + b; the replacement gives a - b */
SYM_FUNC_START(test_redirect_sum)
	movq	%rdi, %rax
	addq	%rsi, %rax
	RET
SYM_FUNC_END(test_redirect_sum)

/* Another one of that name is in test_klp_redirect_calls.c. */
SYM_FUNC_START_LOCAL(test_redirect_twice)
	movl	$2, %eax
	RET
SYM_FUNC_END(test_redirect_twice)

SYM_FUNC_START(test_redirect_nokprobe)
	xorl	%eax, %eax
	RET
SYM_FUNC_END(test_redirect_nokprobe)
_ASM_NOKPROBE(test_redirect_nokprobe)

.pushsection .noinstr.text, "ax"
SYM_FUNC_START(test_redirect_noinstr)
	xorl	%eax, %eax
	RET
SYM_FUNC_END(test_redirect_noinstr)
.popsection

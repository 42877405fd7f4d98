/* SPDX-License-Identifier: GPL-2.0 */

#include <linux/linkage.h>

/* ANCHOR: routine */
/*
 * u16 asm_target_checksum(const u16 *words, size_t count);
 *
 * The Internet checksum (RFC 1071) of @count words, at least one. Wrong: in ones' complement
 * arithmetic a carry comes back in at the bottom, and here it is lost.
 */
SYM_FUNC_START(asm_target_checksum)
	xorl	%eax, %eax
	xorl	%ecx, %ecx
.Lnext:
	addw	(%rdi,%rcx,2), %ax
	incq	%rcx
	cmpq	%rsi, %rcx
	jb	.Lnext
	notl	%eax
	movzwl	%ax, %eax
	RET
SYM_FUNC_END(asm_target_checksum)
/* ANCHOR_END: routine */

// SPDX-License-Identifier: GPL-2.0

#include <asm/asm.h>

/*
 * RDMSR with the registers in @gprs: eax, ecx, edx, ebx, esp, ebp, esi, edi. Some processors
 * want a key in edi. The two of the stack are neither loaded nor stored. -EIO when it faults,
 * which is what the entry in the exception table makes of it.
 */
int rust_helper_rdmsr_regs(u32 gprs[8])
{
	int err = 0;

	asm volatile("1: rdmsr\n"
		     "2:\n"
		     _ASM_EXTABLE_TYPE_REG(1b, 2b, EX_TYPE_RDMSR_SAFE, %[err])
		     : [err] "+r" (err), "+a" (gprs[0]), "+c" (gprs[1]), "+d" (gprs[2]),
		       "+b" (gprs[3]), "+S" (gprs[6]), "+D" (gprs[7]));
	return err;
}

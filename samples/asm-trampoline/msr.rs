// SPDX-License-Identifier: GPL-2.0

//! The processor's model-specific registers, as the routine that is replaced knows them.
//!
//! C headers: [`arch/x86/include/asm/msr.h`](srctree/arch/x86/include/asm/msr.h),
//! [`arch/x86/include/asm/msr-index.h`](srctree/arch/x86/include/asm/msr-index.h)

use kernel::{
    error::to_result,
    prelude::*, //
};

use crate::bindings;

/// The general registers that RDMSR is run with: eax, ecx, edx, ebx, esp, ebp, esi, edi.
#[repr(transparent)]
pub(crate) struct Gprs([u32; 8]);

impl Gprs {
    /// To read `msr`.
    pub(crate) fn of(msr: u32) -> Self {
        Self([0, msr, 0, 0, 0, 0, 0, 0])
    }

    /// What was read: edx and eax.
    pub(crate) fn value(&self) -> u64 {
        u64::from(self.0[2]) << 32 | u64::from(self.0[0])
    }

    /// Reads the MSR by `rdmsr_safe_regs()` on `cpu`. May sleep.
    ///
    /// # Errors
    ///
    /// `EIO` when the processor has no such register, `ENXIO` when there is no such processor.
    pub(crate) fn rdmsr_on(&mut self, cpu: u32) -> Result {
        // SAFETY: The array has eight words.
        to_result(unsafe { bindings::rdmsr_safe_regs_on_cpu(cpu, self.0.as_mut_ptr()) })
    }

    /// Whether ecx names the register that holds the processor's serial number.
    pub(crate) fn is_serial_number(&self) -> bool {
        matches!(self.0[1], bindings::MSR_PPIN | bindings::MSR_AMD_PPIN)
    }

    /// Reads the MSR that ecx names, of the processor that runs this. Any context.
    ///
    /// # Errors
    ///
    /// `EIO` when the processor has no such register.
    pub(crate) fn rdmsr(&mut self) -> Result {
        // SAFETY: The array has eight words, and the helper survives a fault.
        to_result(unsafe { bindings::rdmsr_regs(self.0.as_mut_ptr()) })
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The `infop` of waitid() (kernel/exit.c): where the call tells which child it has reaped.
//!
//! C header: [`include/linux/compat.h`](srctree/include/linux/compat.h)

use kernel::prelude::*;

use crate::bindings;

/// Where to a call writes.
pub(crate) struct Infop {
    address: usize,
    len: usize,
}

impl Infop {
    /// That of a 64-bit program, a `struct siginfo`.
    pub(crate) fn native(address: usize) -> Self {
        Self {
            address,
            len: bindings::INFO_LEN as usize,
        }
    }

    /// That of a 32-bit or x32 program, a `struct compat_siginfo`, which is laid out otherwise.
    #[cfg(CONFIG_COMPAT)]
    pub(crate) fn compat(address: usize) -> Self {
        Self {
            address,
            len: bindings::COMPAT_INFO_LEN as usize,
        }
    }

    /// `EFAULT` if the call could not write there now. A null pointer is right: by it the program says that it does not ask.
    ///
    /// Process context; may sleep for a page of the program's. It leaves what is there as it is, and finds no address of the
    /// kernel's, since it looks among the mappings of the program.
    pub(crate) fn check(&self) -> Result {
        if self.address == 0 {
            return Ok(());
        }
        // SAFETY: It is given an address, which need not be valid.
        match unsafe { bindings::fault_in_safe_writeable(self.address as *const _, self.len) } {
            0 => Ok(()),
            _ => Err(EFAULT),
        }
    }
}

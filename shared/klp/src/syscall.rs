// SPDX-License-Identifier: GPL-2.0

//! What the functions of a system call are called, and where its arguments are.
//!
//! Headers: [`arch/x86/include/asm/syscall_wrapper.h`](srctree/arch/x86/include/asm/syscall_wrapper.h),
//! [`arch/arm64/include/asm/syscall_wrapper.h`](srctree/arch/arm64/include/asm/syscall_wrapper.h)

#[cfg(CONFIG_ARCH_HAS_SYSCALL_WRAPPER)]
use kernel::{
    bindings::pt_regs,
    ffi::c_long, //
};

/// The name of one of the functions of a system call, as a string literal.
///
/// With `CONFIG_ARCH_HAS_SYSCALL_WRAPPER` it has a prefix and takes one argument, a pointer to the `pt_regs` that carry
/// the arguments of the call; without, it is called `sys_…` and takes the arguments themselves. With wrappers each has the same
/// declaration, and the entry in `functions` needs no `unsafe`.
///
/// A call has several entries on x86-64, and a fix of one is bypassed by the others: **a patch must replace all that there are.**
/// A call without arguments has one function under several names.
///
/// | entry | called by | there with | reads arguments by |
/// |---|---|---|---|
/// | `(syscall waitid)` | 64-bit programs | | [`syscall_args`] |
/// | `(compat_syscall waitid)` | 32-bit programs, where that is another function (`COMPAT_SYSCALL_DEFINEx`) | `CONFIG_IA32_EMULATION` | [`ia32_syscall_args`] |
/// | `(ia32_syscall getpgid)` | 32-bit programs, where it is the same | `CONFIG_IA32_EMULATION` | [`ia32_syscall_args`] |
/// | `(x32_syscall waitid)` | x32 programs, where that is another function | `CONFIG_X86_X32_ABI` | [`syscall_args`] |
///
/// What is there with an option has `#[cfg(…)]` in front of it.
///
/// arm64 has `(syscall …)`, which serves 32-bit programs too, and with `CONFIG_COMPAT` `(compat_syscall …)` where that is another
/// function; all of them read arguments by [`syscall_args`]. Other architectures have `(syscall …)` alone here, and no [`syscall_args`].
///
/// # Examples
///
/// ```ignore
/// functions: [
///     fn (syscall getpgid)(*const pt_regs) -> c_long = getpgid,
///     #[cfg(CONFIG_IA32_EMULATION)]
///     fn (ia32_syscall getpgid)(*const pt_regs) -> c_long = ia32_getpgid,
/// ],
/// ```
///
/// [`syscall_args`]: crate::syscall_args
/// [`ia32_syscall_args`]: crate::ia32_syscall_args
#[macro_export]
macro_rules! syscall_name {
    (syscall $name:ident) => {
        concat!($crate::syscall_prefix!(), "sys_", stringify!($name))
    };
    (ia32_syscall $name:ident) => {
        concat!("__ia32_sys_", stringify!($name))
    };
    (compat_syscall $name:ident) => {
        concat!($crate::compat_prefix!(), "compat_sys_", stringify!($name))
    };
    (x32_syscall $name:ident) => {
        concat!("__x64_compat_sys_", stringify!($name))
    };
    ($other:ident $name:ident) => {
        compile_error!(concat!(
            "livepatch!: `", stringify!($other),
            "` is no entry of a system call: there are `syscall`, `ia32_syscall`, `compat_syscall` and `x32_syscall`"
        ))
    };
}

/// What every function of a system call is declared as, for the compiler to compare entries with.
///
/// # Safety
///
/// Nobody calls it.
#[cfg(CONFIG_ARCH_HAS_SYSCALL_WRAPPER)]
pub unsafe extern "C" fn syscall(_regs: *const pt_regs) -> c_long {
    0
}

/// The arguments of a call by a 64-bit or x32 program, and on arm64 by any, as its entry reads them.
///
/// Nobody changes them while the call runs. What a pointer among them leads to, a thread of the program may change at any time.
#[cfg(all(
    CONFIG_ARCH_HAS_SYSCALL_WRAPPER,
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub fn syscall_args(regs: &pt_regs) -> [usize; 6] {
    #[cfg(target_arch = "x86_64")]
    let args = [regs.di, regs.si, regs.dx, regs.r10, regs.r8, regs.r9];
    // SAFETY: Both members of the union begin with these numbers (arch/arm64/include/asm/ptrace.h).
    #[cfg(target_arch = "aarch64")]
    let args =
        core::array::from_fn(|i| unsafe { regs.__bindgen_anon_1.user_regs.regs[i] } as usize);
    args
}

/// The arguments of a call by a 32-bit program, as its entry reads them: of each register the lower half.
///
/// A 64-bit program may make such a call, too (`int $0x80`), and have anything in the upper half.
#[cfg(all(CONFIG_ARCH_HAS_SYSCALL_WRAPPER, target_arch = "x86_64"))]
pub fn ia32_syscall_args(regs: &pt_regs) -> [u32; 6] {
    [regs.bx, regs.cx, regs.dx, regs.si, regs.di, regs.bp].map(|register| register as u32)
}

macro_rules! prefix {
    ($($cfg:meta => $prefix:literal $compat:literal),+ $(,)?) => {
        $(
            /// What stands before `sys_`.
            #[cfg($cfg)]
            #[doc(hidden)]
            #[macro_export]
            macro_rules! syscall_prefix {
                () => {
                    $prefix
                };
            }

            /// What stands before `compat_sys_`.
            #[cfg($cfg)]
            #[doc(hidden)]
            #[macro_export]
            macro_rules! compat_prefix {
                () => {
                    $compat
                };
            }
        )+
    };
}

prefix! {
    all(CONFIG_ARCH_HAS_SYSCALL_WRAPPER, target_arch = "x86_64") => "__x64_" "__ia32_",
    all(CONFIG_ARCH_HAS_SYSCALL_WRAPPER, target_arch = "aarch64") => "__arm64_" "__arm64_",
    all(CONFIG_ARCH_HAS_SYSCALL_WRAPPER, target_arch = "s390x") => "__s390x_" "__s390x_",
    all(CONFIG_ARCH_HAS_SYSCALL_WRAPPER, target_arch = "riscv64") => "__riscv_" "__riscv_",
    not(all(
        CONFIG_ARCH_HAS_SYSCALL_WRAPPER,
        any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "s390x", target_arch = "riscv64")
    )) => "" "",
}

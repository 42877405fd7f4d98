// SPDX-License-Identifier: GPL-2.0

//! What the function of a system call is called.
//!
//! Header: [`arch/x86/include/asm/syscall_wrapper.h`](srctree/arch/x86/include/asm/syscall_wrapper.h)

/// The name of the function that the system call table of this architecture holds, as a string literal.
///
/// With `CONFIG_ARCH_HAS_SYSCALL_WRAPPER` it has a prefix and takes one argument, a pointer to the `pt_regs` that carry
/// the arguments of the call; without, it is called `sys_…` and takes the arguments themselves.
///
/// On x86-64 with `CONFIG_IA32_EMULATION` each call with arguments has an entry `__ia32_sys_…` (or `__ia32_compat_sys_…`) as
/// well, and a fix of the one is bypassed by the other: a patch must replace both, and this is not the name of the second. Of a
/// call without arguments it is a second name. arm64, riscv and powerpc add none for ordinary calls.
///
/// # Examples
///
/// ```ignore
/// functions: [
///     // SAFETY: Each system call has this declaration on an architecture with wrappers.
///     unsafe fn (syscall getpid)(*const pt_regs) -> c_long = patched_getpid,
/// ],
/// ```
#[macro_export]
macro_rules! syscall_name {
    ($name:ident) => {
        concat!($crate::syscall_prefix!(), "sys_", stringify!($name))
    };
}

macro_rules! prefix {
    ($($cfg:meta => $prefix:literal),+ $(,)?) => {
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
        )+
    };
}

prefix! {
    all(CONFIG_ARCH_HAS_SYSCALL_WRAPPER, target_arch = "x86_64") => "__x64_",
    all(CONFIG_ARCH_HAS_SYSCALL_WRAPPER, target_arch = "aarch64") => "__arm64_",
    all(CONFIG_ARCH_HAS_SYSCALL_WRAPPER, target_arch = "s390x") => "__s390x_",
    all(CONFIG_ARCH_HAS_SYSCALL_WRAPPER, target_arch = "riscv64") => "__riscv_",
    not(all(
        CONFIG_ARCH_HAS_SYSCALL_WRAPPER,
        any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "s390x", target_arch = "riscv64")
    )) => "",
}

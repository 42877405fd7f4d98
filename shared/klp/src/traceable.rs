// SPDX-License-Identifier: GPL-2.0

//! Rust functions that ftrace can reach.
//!
//! Before 1.98 rustc emits no call of `__fentry__`, so ftrace sees no Rust function, and what ftrace does not see can
//! neither be traced by name nor be livepatched. [`traceable!`](crate::traceable!) puts an entry of a few instructions in
//! front of one. Where rustc has `-Zinstrument-mcount=fentry`, `klp.mk` asks for it: each function of a module is reached
//! then that is not inlined, and the macro only keeps it from that.
//!
//! Header: [`arch/x86/include/asm/ftrace.h`](srctree/arch/x86/include/asm/ftrace.h)

/// Defines a function with the C calling convention that ftrace can trace and a livepatch can replace.
///
/// The function appears in kallsyms by its name as it is written, which must be unique in the module.
///
/// Before rustc 1.98 that name belongs to an entry in assembly, as a compiler with `-mfentry` would begin it. Its call of
/// `__fentry__` is listed for ftrace by objtool, or by the entry itself where the kernel is compiled by gcc, which does the
/// same; objtool computes how to unwind the stack through it.
///
/// The entry *calls* the body and does not jump to it. While a task is in the body, the entry's address is on its stack,
/// and that is what the livepatch core looks for before it switches the task: with a jump it would see nothing, and the
/// module could be removed under the task.
///
/// # Limits
///
/// x86-64. Before rustc 1.98 not with `CONFIG_CFI`, and at most six parameters and a result, each one an integer or a
/// pointer: what the calling convention passes in registers.
///
/// # Examples
///
/// ```ignore
/// klp::traceable! {
///     unsafe extern "C" fn livepatch_cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
///         // …
///         0
///     }
/// }
/// ```
#[cfg(klp_fentry)]
#[macro_export]
macro_rules! traceable {
    (
        $(#[$attr:meta])*
        unsafe extern "C" fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$attr])*
        #[no_mangle]
        #[inline(never)]
        unsafe extern "C" fn $name($($arg: $type),*) $(-> $ret)? $body
    };
}

/// Defines a function with the C calling convention that ftrace can trace and a livepatch can replace.
#[cfg(all(
    not(klp_fentry),
    target_arch = "x86_64",
    not(CONFIG_CFI),
    any(CONFIG_FTRACE_MCOUNT_USE_CC, CONFIG_FTRACE_MCOUNT_USE_OBJTOOL)
))]
#[macro_export]
macro_rules! traceable {
    (
        $(#[$attr:meta])*
        unsafe extern "C" fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        // The types are those that the body has with the same calling convention.
        #[allow(improper_ctypes)]
        extern "C" {
            $(#[$attr])*
            fn $name($($arg: $type),*) $(-> $ret)?;
        }

        #[allow(unused_imports)]
        mod $name {
            use super::*;

            const _: () = assert!(
                <[usize]>::len(&[$(::core::mem::size_of::<$type>()),*]) <= 6
                    $(&& ::core::mem::size_of::<$type>() <= 8)* $(&& ::core::mem::size_of::<$ret>() <= 8)?,
                "the entry passes on what is in registers: six parameters and a result of a word each"
            );

            unsafe extern "C" fn body($($arg: $type),*) $(-> $ret)? $body

            ::core::arch::global_asm!(
                ".pushsection .text",
                ".balign 16",
                concat!(".type ", stringify!($name), ", @function"),
                concat!(stringify!($name), ":"),
                $crate::traceable_begin!(),
                $crate::traceable_site!(),
                "call __fentry__",
                "push %rbp",
                "mov %rsp, %rbp",
                "call {body}",
                "pop %rbp",
                $crate::traceable_return!(),
                concat!(".size ", stringify!($name), ", . - ", stringify!($name)),
                ".popsection",
                body = sym body,
                options(att_syntax),
            );
        }
    };
}

/// Refused: this kernel's function entries look otherwise, or ftrace would not hear of them.
#[cfg(not(any(
    klp_fentry,
    all(
        target_arch = "x86_64",
        not(CONFIG_CFI),
        any(CONFIG_FTRACE_MCOUNT_USE_CC, CONFIG_FTRACE_MCOUNT_USE_OBJTOOL)
    )
)))]
#[macro_export]
macro_rules! traceable {
    ($($_:tt)*) => {
        compile_error!("not on this kernel: klp::traceable! needs x86-64 with dynamic ftrace through __fentry__, and without CONFIG_CFI");
    };
}

/// What a function begins with whose address is taken.
#[cfg(CONFIG_X86_KERNEL_IBT)]
#[doc(hidden)]
#[macro_export]
macro_rules! traceable_begin {
    () => {
        "endbr64"
    };
}

/// What a function begins with whose address is taken.
#[cfg(not(CONFIG_X86_KERNEL_IBT))]
#[doc(hidden)]
#[macro_export]
macro_rules! traceable_begin {
    () => {
        ""
    };
}

/// How ftrace hears of the call that follows: where the compiler lists its own calls, so do we; else objtool does it.
#[cfg(CONFIG_FTRACE_MCOUNT_USE_CC)]
#[doc(hidden)]
#[macro_export]
macro_rules! traceable_site {
    () => {
        ".pushsection __mcount_loc, \"a\", @progbits; .balign 8; .quad 771f; .popsection; 771:"
    };
}

/// How ftrace hears of the call that follows: where the compiler lists its own calls, so do we; else objtool does it.
#[cfg(CONFIG_FTRACE_MCOUNT_USE_OBJTOOL)]
#[doc(hidden)]
#[macro_export]
macro_rules! traceable_site {
    () => {
        ""
    };
}

/// How a function returns: the macro `RET` of `arch/x86/include/asm/linkage.h`.
#[cfg(CONFIG_MITIGATION_RETHUNK)]
#[doc(hidden)]
#[macro_export]
macro_rules! traceable_return {
    () => {
        "jmp __x86_return_thunk"
    };
}

/// How a function returns: the macro `RET` of `arch/x86/include/asm/linkage.h`.
#[cfg(not(CONFIG_MITIGATION_RETHUNK))]
#[doc(hidden)]
#[macro_export]
macro_rules! traceable_return {
    () => {
        "ret; int3"
    };
}

// SPDX-License-Identifier: GPL-2.0

//! Lets a replacement go on in the function that it replaces.
//!
//! A replaced function begins with a call of ftrace, which leads to the replacement; what follows is the function as it was.
//! So whoever arrives behind that call runs the original. A direct jump must lead there: where the processor tracks
//! indirect branches (IBT), an indirect one may only arrive at an `ENDBR`. The kernel has such jumps that a module may aim, static
//! calls, and each entry with an `as` has one.
//!
//! C header: [`include/linux/static_call.h`](srctree/include/linux/static_call.h)

use core::cell::UnsafeCell;

use kernel::prelude::*;

use crate::{
    bindings,
    Object, //
};

/// The key of a static call: `struct static_call_key`, aimed at nothing.
#[repr(transparent)]
pub struct Key(UnsafeCell<bindings::static_call_key>);

// SAFETY: The kernel alone accesses it, under its own lock.
unsafe impl Sync for Key {}

impl Key {
    /// A key without call sites that are known yet.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        // SAFETY: Null pointers, which it consists of, are what the kernel's own keys begin with.
        Self(UnsafeCell::new(unsafe { core::mem::zeroed() }))
    }
}

/// The original of one function of a table, if its replacement calls it.
pub struct Original {
    key: &'static Key,
    trampoline: unsafe extern "C" fn(),
}

impl Original {
    /// The original that calls of `trampoline` arrive in.
    ///
    /// # Safety
    ///
    /// `trampoline` must be that of `key`.
    pub const unsafe fn new(key: &'static Key, trampoline: unsafe extern "C" fn()) -> Self {
        Self { key, trampoline }
    }
}

/// What ends the search for a function's beginning: `call`, the five bytes that stand for it while nobody traces, or the breakpoint
/// that the kernel sets while it changes one into the other.
const CALL: u8 = 0xe8;
const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];
const INT3: u8 = 0xcc;

/// `ENDBR64`, and what the kernel writes there when nothing branches to the function indirectly
/// (`gen_endbr_poison()`, `arch/x86/include/asm/ibt.h`).
const ENDBR: [[u8; 4]; 2] = [[0xf3, 0x0f, 0x1e, 0xfa], [0x0f, 0x1f, 0x40, 0xd6]];

/// How far behind a function's beginning the call of ftrace ends, which these bytes are the beginning of.
fn behind_ftrace(text: [u8; 9]) -> Result<usize> {
    let start = match ENDBR.iter().any(|endbr| text.starts_with(endbr)) {
        true => 4,
        false => 0,
    };
    let call = &text[start..start + NOP5.len()];
    match call[0] {
        CALL | INT3 => Ok(start + call.len()),
        _ if call == NOP5 => Ok(start + call.len()),
        _ => Err(EINVAL),
    }
}

/// Aims the trampolines of an object's table at the functions that were found. For a pre-patch callback.
///
/// # Safety
///
/// `originals` must be parallel to the table of `obj`, which the core is about to patch.
pub(crate) unsafe fn aim(obj: &Object, originals: &'static [Option<Original>]) -> Result {
    // SAFETY: The core has filled the table in, and `klp_mutex` guards it.
    let funcs = unsafe { (*obj.as_raw()).funcs };
    for (i, original) in originals.iter().enumerate() {
        let Some(original) = original else {
            continue;
        };
        // SAFETY: The table is as long as the list, and the function was found: its text is loaded and readable.
        let function = unsafe { (*funcs.add(i)).old_func }.cast::<u8>();
        // SAFETY: As above; ftrace reaches the function, so that it is no shorter than its call.
        let text = unsafe { function.cast::<[u8; 9]>().read_volatile() };
        let behind = behind_ftrace(text).inspect_err(|_| {
            pr_err!("{obj}: function {i} does not begin with the call of ftrace, so its original cannot be called\n");
        })?;
        // SAFETY: Process context. Key and trampoline belong together, and the function's text continues there.
        unsafe {
            bindings::__static_call_update(
                original.key.0.get(),
                original.trampoline as *mut c_void,
                function.add(behind).cast(),
            );
        }
    }
    Ok(())
}

/// What the originals of an object need in the module: for each entry with an `as` a trampoline, its key, and the name by which
/// the replacement calls it.
#[doc(hidden)]
#[macro_export]
macro_rules! originals {
    // The callbacks of an object, with what aims the trampolines where there are any.
    (@ops $object:tt $ops:ident [
        $( $(#[$attr:meta])* $(unsafe $($unchecked:lifetime)?)? fn $old:tt $(@ $pos:literal)?
            ( $($arg:ty),* $(,)? ) $(-> $ret:ty)? $(as $original:ident)? = $new:expr ),* $(,)?
    ]) => {{
        #[allow(dead_code)]
        struct Here;

        impl $crate::internal::Wrapping for Here {
            const OPS: $crate::internal::Ops = $ops;

            fn originals() -> &'static [::core::option::Option<$crate::internal::Original>] {
                static ORIGINALS: &[::core::option::Option<$crate::internal::Original>] = &[
                    $( $(#[$attr])* $crate::originals!(@entry [$($original)?] $object $old [$($pos)?]) ),*
                ];
                ORIGINALS
            }
        }
        // Whoever calls no original gets no callback for it.
        const ANY: bool = false $( || !stringify!($($original)?).is_empty() )*;
        match ANY {
            true => $crate::internal::Ops::wrapping::<Here>(),
            false => $ops,
        }
    }};
    // The table has complained.
    (@ops $object:tt $ops:ident $other:tt) => { $ops };

    ($object:tt {
        $(callbacks: $callbacks:ty,)?
        $(stateful: $stateful:ty,)?
        $(change: $change:ident,)?
        functions: [ $($functions:tt)* ] $($rest:tt)*
    }) => {
        $crate::originals!(@each $object $($functions)*);
    };
    ($object:tt $other:tt) => {};

    (@each $object:tt $(
        $(#[$attr:meta])* $(unsafe $($unchecked:lifetime)?)? fn $old:tt $(@ $pos:literal)?
            ( $($arg:ty),* $(,)? ) $(-> $ret:ty)? $(as $original:ident)? = $new:expr
    ),* $(,)?) => {
        $( $crate::originals!(@one [$($original)?] $object [$(#[$attr])*] $old [$($pos)?] ($($arg),*) $(-> $ret)?); )*
    };

    (@one [] $($other:tt)*) => {};
    (@one [$original:ident] $object:tt [$(#[$attr:meta])*] $old:tt $pos:tt ($($arg:ty),*) $(-> $ret:ty)?) => {
        // As ARCH_DEFINE_STATIC_CALL_TRAMP() of arch/x86/include/asm/static_call.h: a jump, here to the trap behind it, and that trap,
        // by which the kernel knows a trampoline.
        $(#[$attr])*
        ::core::arch::global_asm!(
            ".pushsection .static_call.text, \"ax\"",
            ".balign 4",
            concat!(".globl \"", $crate::originals!(@symbol "__SCT__" $object $old $pos), "\""),
            concat!("\"", $crate::originals!(@symbol "__SCT__" $object $old $pos), "\":"),
            // ANNOTATE_NOENDBR of include/linux/annotate.h: nobody arrives here by an indirect branch.
            ".pushsection .discard.annotate_insn, \"M\", @progbits, 8",
            concat!(".long \"", $crate::originals!(@symbol "__SCT__" $object $old $pos), "\" - ., 1"),
            ".popsection",
            ".byte 0xe9",
            ".long 0",
            ".byte 0x0f, 0xb9, 0xcc",
            concat!(".type \"", $crate::originals!(@symbol "__SCT__" $object $old $pos), "\", @function"),
            concat!(
                ".size \"", $crate::originals!(@symbol "__SCT__" $object $old $pos), "\", 8"
            ),
            ".popsection",
        );

        $(#[$attr])*
        const _: () = {
            #[export_name = $crate::originals!(@symbol "__SCK__" $object $old $pos)]
            static KEY: $crate::internal::Key = $crate::internal::Key::new();
        };

        $(#[$attr])*
        #[allow(improper_ctypes)]
        extern "C" {
            /// The function as the kernel has it, for its replacement alone: before the object is patched it traps.
            #[link_name = $crate::originals!(@symbol "__SCT__" $object $old $pos)]
            fn $original($(_: $arg),*) $(-> $ret)?;
        }
    };

    // objtool, which looks for the key of a trampoline, takes a number at the end of a name for the compiler's.
    (@symbol $prefix:literal $object:tt $old:tt $pos:tt) => {
        concat!($prefix, $crate::livepatch!(@symbol $object $old $pos), ".original")
    };

    // An entry of the list that is parallel to the table.
    (@entry [] $($other:tt)*) => { ::core::option::Option::None };
    (@entry [$original:ident] $object:tt $old:tt $pos:tt) => {{
        extern "C" {
            #[link_name = $crate::originals!(@symbol "__SCK__" $object $old $pos)]
            static KEY: $crate::internal::Key;
            #[link_name = $crate::originals!(@symbol "__SCT__" $object $old $pos)]
            fn trampoline();
        }
        // SAFETY: The two were made for this entry.
        ::core::option::Option::Some(unsafe { $crate::internal::Original::new(&KEY, trampoline) })
    }};
}

// SPDX-License-Identifier: GPL-2.0

//! Livepatch callbacks for modules written in Rust.
//!
//! A livepatch replaces functions of running kernel objects: the kernel itself (`vmlinux`) or a module. Around the
//! replacement the livepatch core calls up to four callbacks for each object, so that a patch can also change what
//! is not a function: data, the result of an `__init` or probe that has already run, assembly.
//!
//! # Which tool to choose
//!
//! - A function is wrong and nothing else: list it under `functions` of [`livepatch!`](crate::livepatch!); no callback
//!   is needed.
//! - The replacement shall go on in the old function: `as NAME`, see [`livepatch!`](crate::livepatch!).
//! - Something must be allocated, checked or changed around the replacement, and given back later:
//!   [`StatefulCallbacks`].
//! - The callbacks only act and carry nothing from one to the next: [`Callbacks`].
//! - A structure lacks a field: [`Shadow`].
//! - A number of the kernel is changed and given back: [`Saved`] remembers it.
//! - A later patch must know what this one changed, and take it over: [`SystemChange`], on a [`SystemState`].
//! - The code to fix is assembly or Rust, which ftrace cannot reach: `redirects` of [`livepatch!`](crate::livepatch!),
//!   see [`Redirect`].
//! - The user decides at load time or through sysfs: [`param!`](crate::param!).
//! - The user shall see how far the patch has come: `files` of [`livepatch!`](crate::livepatch!), each an
//!   [`Attribute`].
//! - The patch must load on one build of the kernel and on no other: [`BuildId`].
//! - A replacement must be traced by name, or be patched in its turn: [`traceable!`].
//!
//! # Callbacks revert, `Drop` only frees
//!
//! When a cumulative patch (`replace`) takes over, the unpatch callbacks of the replaced patch never run: its
//! successor owns the changed system from then on. The state that the replaced patch still holds is dropped when its
//! module is removed. So give the system back in [`StatefulCallbacks::pre_unpatch`] and
//! [`StatefulCallbacks::post_unpatch`], and let the `Drop` of the state free memory and undo nothing.
//!
//! Until the replacing transition ends, the replaced patch still gets all of its callbacks for targets that come and go
//! (`klp_module_coming()` exempts nobody but `klp_transition_patch`). So take over in
//! [`StatefulCallbacks::post_patch`], not in `pre_patch`: what the old patch did for a target that came meanwhile, nothing
//! else takes back.
//!
//! # Not supported
//!
//! - Functions that ftrace cannot reach: assembly, `notrace` and Rust functions have no `__fentry__` call site, and
//!   the kernel refuses to patch them.
//! - A Rust function that was written with [`traceable!`] has one, and is the exception.
//! - Unwinding or recovering from a panic in a callback: it is `BUG()` with `klp_mutex` held, and every load and unload of
//!   any module hangs from then on.
//! - Enabling a disabled patch again: the core refuses it; load the module anew.
//!
//! Specification: `Documentation/livepatch/callbacks.rst`.
//! C header: [`include/linux/livepatch.h`](srctree/include/linux/livepatch.h)

use kernel::str::CStr;

crate::bindings!(@file "/klp_bindings.rs");

/// What `pr_err!` and its like print in front of this crate's own messages.
const __LOG_PREFIX: &[u8] = b"klp\0";

mod build_id;
mod callbacks;
mod handover;
mod layout;
mod macros;
mod object;
#[cfg(all(CONFIG_HAVE_STATIC_CALL, CONFIG_X86_64))]
mod original;
mod param;
mod patch;
#[cfg(klp_state_callbacks)]
mod per_state;
#[cfg(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64)))]
mod redirect;
mod saved;
mod shadow;
mod slot;
mod state;
#[cfg(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64)))]
mod symbol;
mod syscall;
mod sysfs;
mod traceable;

pub use build_id::BuildId;
pub use callbacks::{
    Callbacks,
    Slotted,
    StatefulCallbacks, //
};
pub use handover::SystemChange;
pub use layout::FixedLayout;
pub use object::{
    ModuleState,
    Object, //
};
pub use param::{
    Bounded,
    Choice,
    Param,
    ParamArray,
    ParamValue, //
};
pub use patch::Livepatch;
#[cfg(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64)))]
pub use redirect::Redirect;
pub use saved::Saved;
pub use shadow::{
    Shadow,
    ShadowRef, //
};
pub use slot::StateRef;
pub use state::{
    PreviousState,
    StateData,
    SystemState, //
};
#[cfg(all(CONFIG_ARCH_HAS_SYSCALL_WRAPPER, target_arch = "x86_64"))]
pub use syscall::ia32_syscall_args;
#[cfg(all(
    CONFIG_ARCH_HAS_SYSCALL_WRAPPER,
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub use syscall::syscall_args;
pub use sysfs::{
    Attribute,
    Folder, //
};

/// What the macros of this crate expand to, and nobody writes.
#[doc(hidden)]
pub mod internal {
    #[cfg(CONFIG_ARCH_HAS_SYSCALL_WRAPPER)]
    pub use crate::syscall::syscall;
    #[cfg(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64)))]
    pub use crate::{
        callbacks::Redirected,
        redirect::Redirect, //
    };
    #[cfg(all(CONFIG_HAVE_STATIC_CALL, CONFIG_X86_64))]
    pub use crate::{
        callbacks::Wrapping,
        original::{
            Key,
            Original, //
        },
    };
    pub use crate::{
        callbacks::{
            Ops,
            SlotOf, //
        },
        handover::{
            Handover,
            State, //
        },
        param::{
            ParamArrayRaw,
            ParamEntry, //
        },
        patch::{
            check_name,
            module_name,
            Func,
            Funcs,
            ObjectEntry,
            Patch,
            Typed, //
        },
        slot::Slot,
        state::{
            StateTable,
            StatesEnd, //
        },
    };
}

/// Refused: kernel probes that redirect are known for these two alone.
#[cfg(not(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64))))]
#[doc(hidden)]
#[macro_export]
macro_rules! redirects {
    ($($_:tt)*) => {
        compile_error!("not on this kernel: `redirects` of livepatch! needs x86-64 or arm64, and CONFIG_KPROBES")
    };
}

/// Refused where there is an `as`: without static calls, which are known for x86-64 only, a replacement cannot call its original.
#[cfg(not(all(CONFIG_HAVE_STATIC_CALL, CONFIG_X86_64)))]
#[doc(hidden)]
#[macro_export]
macro_rules! originals {
    (@ops $object:tt $ops:ident $functions:tt) => {
        $ops
    };
    ($object:tt {
        $(callbacks: $callbacks:ty,)?
        $(stateful: $stateful:ty,)?
        $(change: $change:ident,)?
        functions: [ $(
            $(#[$attr:meta])* $(unsafe $($unchecked:lifetime)?)? fn $old:tt $(@ $pos:literal)?
                ( $($arg:ty),* $(,)? ) $(-> $ret:ty)? $(as $original:ident)? = $new:expr
        ),* $(,)? ] $($rest:tt)*
    }) => {
        const _: () = {
            let originals: &[&str] = &[$( $(#[$attr])* { stringify!($($original)?) } ),*];
            let mut i = 0;
            while i < originals.len() {
                assert!(
                    originals[i].is_empty(),
                    "not on this kernel: `as` of livepatch! needs x86-64 and CONFIG_HAVE_STATIC_CALL; elsewhere a replacement is the whole function"
                );
                i += 1;
            }
        };
        $( $crate::originals!(@one [$($original)?] [$(#[$attr])*] ($($arg),*) $(-> $ret)?); )*
    };
    (@one [] $($_:tt)*) => {};
    (@one [$original:ident] [$(#[$attr:meta])*] ($($arg:ty),*) $(-> $ret:ty)?) => {
        // So that the compiler does not complain of the call too.
        $(#[$attr])*
        extern "C" {
            fn $original($(_: $arg),*) $(-> $ret)?;
        }
    };
    ($($_:tt)*) => {};
}

/// The C string in `text`, for the macros of this crate.
#[doc(hidden)]
pub const fn cstr(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a name must not contain a NUL byte"),
    }
}

/// `text` with a final NUL byte, for the macros of this crate; `N` must be one more than its length.
#[doc(hidden)]
pub const fn modinfo_bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut i = 0;
    while i < text.len() {
        bytes[i] = text.as_bytes()[i];
        i += 1;
    }
    bytes
}

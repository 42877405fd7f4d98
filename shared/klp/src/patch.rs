// SPDX-License-Identifier: GPL-2.0

//! The tables of a patch: functions, objects, and the patch itself.
//!
//! The core keeps its own bookkeeping (kobjects, lists, flags) inside these structures, so they live in statics with
//! interior mutability and are never moved.
//!
//! C header: [`include/linux/livepatch.h`](srctree/include/linux/livepatch.h)

use core::{
    cell::UnsafeCell,
    mem::zeroed, //
};

use kernel::{
    error::to_result,
    ffi::c_ulong,
    prelude::*,
    str::CStr, //
};

#[cfg(klp_state_callbacks)]
use crate::per_state;
use crate::{
    bindings,
    callbacks::Ops,
    state::StateTable, //
};

/// What the module of a livepatch does besides patching.
///
/// [`livepatch!`](crate::livepatch!) calls [`init`](Livepatch::init) and then enables the patch, as the last fallible
/// step of the module's init. Callbacks run inside that step, before the module's value is in its place, so they are
/// never handed one. The value is dropped when the module is removed.
pub trait Livepatch: Sized + Send + Sync {
    /// Checks parameters and acquires what lives as long as the module.
    ///
    /// Process context; may sleep; `klp_mutex` is not held.
    ///
    /// # Errors
    ///
    /// With an error the patch is not enabled and the load of the module fails with that errno.
    fn init(module: &'static ThisModule) -> Result<Self>;
}

/// For a patch whose module does nothing besides.
impl Livepatch for () {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(())
    }
}

/// Refuses a patch whose `name` is not that of the module, which is all that Kbuild goes by. `path` is that of the Rust
/// module: Kbuild calls the crate as the kernel module.
pub const fn check_name(name: &str, path: &str) {
    let (name, path) = (name.as_bytes(), path.as_bytes());
    let mut i = 0;
    while i < name.len() && i < path.len() && name[i] == path[i] {
        i += 1;
    }
    assert!(
        i == name.len() && (i == path.len() || path[i] == b':'),
        "`name` must be the name of the module: that of its .rs file"
    );
}

/// The C string in `text`, if a module can be called so.
pub const fn module_name(text: &'static str) -> &'static CStr {
    let bytes = text.as_bytes();
    let mut i = 0;
    while i + 1 < bytes.len() {
        assert!(
            bytes[i].is_ascii_alphanumeric() || bytes[i] == b'_',
            "no module has such a name: letters, digits, and `_` also where its file has a dash"
        );
        i += 1;
    }
    assert!(i > 0, "a module has a name");
    assert!(
        !matches!(bytes, b"vmlinux\0"),
        "the kernel itself is `vmlinux` without quotes; in quotes it would be a module of that name"
    );
    crate::cstr(text)
}

/// A function of the type `F`. One of another type does not fit, and is what the compiler's message points at.
pub struct Typed<F> {
    /// The function.
    pub function: F,
}

/// One function to replace: `struct klp_func`.
#[repr(transparent)]
pub struct Func(bindings::klp_func);

impl Func {
    /// The entry that ends a table.
    pub const END: Self = {
        // SAFETY: All fields are integers, booleans, nullable pointers and structures of these.
        Self(unsafe { zeroed() })
    };

    /// Replaces the function `old_name` by `new_func`.
    ///
    /// `sympos` chooses among symbols of that name within the object, counted from 1 in the order of kallsyms;
    /// 0 asks for a name that is unique.
    ///
    /// # Safety
    ///
    /// `new_func` must be a function with the calling convention and the signature that the compiler gave the old one in the
    /// kernel at hand, and must do what callers rely on the old one to do.
    pub const unsafe fn new(
        old_name: &'static CStr,
        sympos: c_ulong,
        new_func: *mut c_void,
    ) -> Self {
        Self(bindings::klp_func {
            old_name: kernel::str::as_char_ptr_in_const_context(old_name),
            new_func,
            old_sympos: sympos,
            ..Self::END.0
        })
    }
}

/// The functions of one object, ended by [`Func::END`].
#[repr(transparent)]
pub struct Funcs<const N: usize>(UnsafeCell<[Func; N]>);

// SAFETY: Only the core accesses the content, under `klp_mutex` or by its own lockless rules.
unsafe impl<const N: usize> Sync for Funcs<N> {}

impl<const N: usize> Funcs<N> {
    /// The table of `funcs`, the last of which must be [`Func::END`].
    pub const fn new(funcs: [Func; N]) -> Self {
        assert!(
            N > 0 && funcs[N - 1].0.old_name.is_null(),
            "a table of functions must end with Func::END"
        );
        Self(UnsafeCell::new(funcs))
    }
}

/// One object to patch: `struct klp_object`.
pub struct ObjectEntry {
    raw: bindings::klp_object,
    #[cfg(klp_state_callbacks)]
    callbacks: bindings::klp_callbacks,
    /// Frees what its callbacks keep.
    release: Option<fn()>,
}

impl ObjectEntry {
    /// Patches `funcs` of the module `name`, or of the kernel itself without a name.
    pub const fn new<const N: usize>(
        name: Option<&'static CStr>,
        funcs: &'static Funcs<N>,
    ) -> Self {
        Self {
            raw: bindings::klp_object {
                name: match name {
                    Some(name) => kernel::str::as_char_ptr_in_const_context(name),
                    None => core::ptr::null(),
                },
                funcs: funcs.0.get().cast(),
                // SAFETY: As for `Func::END`.
                ..unsafe { zeroed() }
            },
            #[cfg(klp_state_callbacks)]
            callbacks: Ops::NONE.raw,
            release: None,
        }
    }

    /// The same object, with the callbacks of `ops`.
    #[cfg(not(klp_state_callbacks))]
    pub const fn with_ops(mut self, ops: Ops) -> Self {
        self.raw.callbacks = ops.raw;
        self.release = ops.release;
        self
    }

    /// The same object, with the callbacks of `ops`.
    #[cfg(klp_state_callbacks)]
    pub const fn with_ops(mut self, ops: Ops) -> Self {
        per_state::check_object(&self.raw, &ops.raw);
        self.callbacks = ops.raw;
        self.release = ops.release;
        self
    }
}

/// A patch of `N` objects: `struct klp_patch` and its table of objects.
///
/// [`livepatch!`](crate::livepatch!) makes one in a static. Tools find it in the module's file by that static's name, and the
/// objects behind the patch.
#[repr(C)]
pub struct Patch<const N: usize> {
    raw: UnsafeCell<bindings::klp_patch>,
    #[cfg(klp_state_callbacks)]
    vmlinux: per_state::OfVmlinux,
    objects: UnsafeCell<Table<N>>,
    release: [Option<fn()>; N],
}

/// The objects and the empty one that ends the table.
#[repr(C)]
struct Table<const N: usize> {
    objects: [bindings::klp_object; N],
    end: bindings::klp_object,
}

// SAFETY: Only the core accesses `raw` and `objects` once the patch is enabled, under `klp_mutex` or by its own lockless
// rules; `enable` is called once.
unsafe impl<const N: usize> Sync for Patch<N> {}

impl<const N: usize> Patch<N> {
    /// The patch of `entries`.
    pub const fn new(entries: [ObjectEntry; N]) -> Self {
        // SAFETY: As for `Func::END`.
        let mut objects: [bindings::klp_object; N] = unsafe { zeroed() };
        let mut release = [None; N];
        #[cfg(klp_state_callbacks)]
        let mut vmlinux = Ops::NONE.raw;
        let mut i = 0;
        while i < N {
            // SAFETY: The entry is valid; nothing in it has drop glue, so that a copy does no harm.
            objects[i] = unsafe { core::ptr::read(&entries[i].raw) };
            release[i] = entries[i].release;
            #[cfg(klp_state_callbacks)]
            if entries[i].raw.name.is_null() {
                // SAFETY: As above.
                vmlinux = unsafe { core::ptr::read(&entries[i].callbacks) };
            }
            i += 1;
        }
        Self {
            // SAFETY: As for `Func::END`.
            raw: UnsafeCell::new(unsafe { zeroed() }),
            #[cfg(klp_state_callbacks)]
            vmlinux: per_state::OfVmlinux::new(vmlinux),
            objects: UnsafeCell::new(Table {
                objects,
                // SAFETY: As for `Func::END`.
                end: unsafe { zeroed() },
            }),
            release,
        }
    }

    /// The same patch, which modifies the system states in `states`.
    pub const fn with_states<S: StateTable>(mut self, states: &'static S) -> Self {
        #[cfg(klp_state_callbacks)]
        self.vmlinux.check_states::<S>();
        self.raw.get_mut().states = core::ptr::from_ref(states).cast_mut().cast();
        self
    }

    /// Registers and enables the patch: `klp_enable_patch()`.
    ///
    /// Runs the pre-patch callbacks and starts the transition, which may end later. With `replace` the patch is cumulative:
    /// it replaces all patches that are enabled. Process context; may sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` while another patch is in transition; `EINVAL` for a symbol that is missing or not unique and for a patch that
    /// is not compatible with those installed; else the error of a pre-patch callback.
    ///
    /// # Safety
    ///
    /// Must be called at most once, from the init of `module`, in whose memory `self` lives.
    pub unsafe fn enable(&'static self, module: &'static ThisModule, replace: bool) -> Result {
        let raw = self.raw.get();
        // SAFETY: By the duty of this function nobody else knows the patch yet.
        unsafe {
            (*raw).mod_ = module.as_ptr();
            (*raw).replace = replace;
            (*raw).objs = self.objects.get().cast();
        }
        // The callbacks get back to the whole from what the core is given.
        #[cfg(klp_state_callbacks)]
        let raw = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: It is that of `self`, which is not enabled yet.
        #[cfg(klp_state_callbacks)]
        unsafe {
            self.vmlinux.attach(raw)
        };
        // SAFETY: `raw` is complete: its tables are terminated and live, as the patch itself, as long as the module.
        to_result(unsafe { bindings::klp_enable_patch(raw) })
    }

    /// Frees the states that a replaced patch still holds. Nothing is reverted.
    ///
    /// # Safety
    ///
    /// Must be called from the exit of the module: no callback and no replacement function can run any more.
    pub unsafe fn release(&self) {
        self.release.iter().flatten().for_each(|release| release());
    }
}

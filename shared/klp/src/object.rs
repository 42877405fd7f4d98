// SPDX-License-Identifier: GPL-2.0

//! The object that a callback runs for.
//!
//! C header: [`include/linux/livepatch.h`](srctree/include/linux/livepatch.h)

use kernel::{
    fmt,
    prelude::*,
    str::CStr,
    types::Opaque, //
};

use crate::bindings;

/// A kernel object that is being patched or unpatched: `vmlinux` or one module.
///
/// The core hands it to every callback. It stands for [`struct klp_object`].
///
/// # Invariants
///
/// The object belongs to a patch whose callback is running: `klp_mutex` is held, and the object is loaded.
///
/// [`struct klp_object`]: srctree/include/linux/livepatch.h
#[repr(transparent)]
pub struct Object(Opaque<bindings::klp_object>);

impl Object {
    /// Wraps the pointer that the core passes to a callback.
    ///
    /// # Safety
    ///
    /// `ptr` must be the argument of a livepatch callback, and `'a` must end before that callback returns.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::klp_object) -> &'a Self {
        // SAFETY: By the duty of this function the pointer is valid for `'a`; `Self` is a transparent wrapper whose
        // content may change behind a shared reference.
        // INVARIANT: A callback runs under `klp_mutex`, for an object that is loaded.
        unsafe { &*ptr.cast() }
    }

    /// The object's name: that of the module, or `vmlinux`.
    pub fn name(&self) -> &CStr {
        // SAFETY: By the type invariant the object is alive; the core never writes to `name`.
        let name = unsafe { (*self.0.get()).name };
        if name.is_null() {
            return c"vmlinux";
        }
        // SAFETY: A name that is not null is the C string that `ObjectEntry::new` was given, which is static.
        unsafe { CStr::from_char_ptr(name) }
    }

    /// Whether the object is the kernel itself.
    pub fn is_vmlinux(&self) -> bool {
        // SAFETY: As in `name`.
        unsafe { (*self.0.get()).name.is_null() }
    }

    /// The state of the module that is patched; `None` for `vmlinux`.
    ///
    /// It is what the module's loader has written down, and does not say how far init or exit came
    /// (`kernel/module/main.c`). [`ModuleState::Coming`]: init may not have begun, or may be running; a livepatch that is
    /// loaded meanwhile sees devices there. A target that a notifier or another livepatch refuses is given back as
    /// `Coming`. [`ModuleState::Going`] is set before exit runs, and also when parameters or init fail; exit does not run then.
    pub fn module_state(&self) -> Option<ModuleState> {
        // SAFETY: By the type invariant the object is alive, and `klp_mutex` guards `mod`.
        let module = unsafe { (*self.0.get()).mod_ };
        if module.is_null() {
            return None;
        }
        // SAFETY: The core clears `mod` in klp_module_going(), before the module is freed. The loader may change
        // the state meanwhile, hence the volatile read (READ_ONCE).
        let state = unsafe { (&raw const (*module).state).read_volatile() };
        Some(match state {
            bindings::module_state_MODULE_STATE_LIVE => ModuleState::Live,
            bindings::module_state_MODULE_STATE_COMING => ModuleState::Coming,
            bindings::module_state_MODULE_STATE_GOING => ModuleState::Going,
            _ => ModuleState::Unformed,
        })
    }

    /// The C object.
    pub fn as_raw(&self) -> *mut bindings::klp_object {
        self.0.get()
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        // In one piece, where the name is text: a `CStr` is shown, and escaped, byte by byte.
        match name.to_str() {
            Ok(name) => f.write_str(name),
            Err(_) => fmt::Display::fmt(name, f),
        }
    }
}

/// Where a module is in its life: `enum module_state` of `include/linux/module.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleState {
    /// In use: init has succeeded.
    Live,
    /// Fully formed, init has not finished.
    Coming,
    /// Being removed.
    Going,
    /// Still being set up by the loader.
    Unformed,
}

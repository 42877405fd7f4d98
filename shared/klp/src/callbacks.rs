// SPDX-License-Identifier: GPL-2.0

//! The four callbacks and the table that the core calls them through.
//!
//! This is the one file that knows `struct klp_callbacks`.
//!
//! C header: [`include/linux/livepatch_external.h`](srctree/include/linux/livepatch_external.h)

use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    ffi::c_int,
    prelude::*, //
};

#[cfg(all(CONFIG_HAVE_STATIC_CALL, CONFIG_X86_64))]
use crate::original::{
    self,
    Original, //
};
#[cfg(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64)))]
use crate::redirect::{
    self,
    Redirect, //
};
use crate::{
    bindings,
    slot::Slot,
    Object, //
};

/// Callbacks that carry nothing from one to the next.
///
/// Each one is optional; one that is not written is a null pointer in the table. All run in process context with
/// `klp_mutex` held and may sleep: in the task that loads or disables the patch, in the task that loads or removes the
/// target, or, for [`post_patch`] and [`post_unpatch`], in a kworker when the transition ends later. They must not
/// load or remove modules nor write to `/sys/kernel/livepatch`, which take `klp_mutex` again.
///
/// # Examples
///
/// ```
/// use klp::Callbacks;
///
/// struct Announce;
///
/// #[vtable]
/// impl Callbacks for Announce {
///     fn post_patch(obj: &klp::Object) {
///         pr_info!("post_patch: {obj}\n");
///     }
/// }
///
/// assert!(Announce::HAS_POST_PATCH);
/// assert!(!Announce::HAS_PRE_PATCH);
/// ```
///
/// [`post_patch`]: Callbacks::post_patch
/// [`post_unpatch`]: Callbacks::post_unpatch
#[vtable]
pub trait Callbacks: 'static {
    /// Runs before the object is patched, and decides whether it may be.
    ///
    /// # Errors
    ///
    /// With an error no other callback runs for this object, and whoever asked is refused with that errno: the load of
    /// the livepatch, or the load of the target when the livepatch was there first.
    fn pre_patch(_obj: &Object) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Runs when every task uses the patched functions.
    ///
    /// Runs again, without a [`pre_unpatch`](Callbacks::pre_unpatch) before it being undone, when the user reverses
    /// an unpatching transition.
    fn post_patch(_obj: &Object) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Runs before the object is unpatched, while every task still uses the patched functions.
    fn pre_unpatch(_obj: &Object) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Runs when no task uses the patched functions any more; also after a patching transition that was reversed or
    /// failed at a later object, where `post_patch` and `pre_unpatch` never ran.
    fn post_unpatch(_obj: &Object) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Callbacks that acquire something before the object is patched and give it back after it was unpatched.
///
/// The state that [`pre_patch`] makes is kept while the object is patched. The other callbacks and, through
/// [`Slotted::state`], the replacement functions get shared access to it; [`post_unpatch`] takes it back.
///
/// **The callbacks revert, `Drop` of the state only frees**: under atomic replace the unpatch callbacks never run, and
/// the state is dropped when the replaced module is removed, while its successor relies on the changed system.
///
/// Context and limits are those of [`Callbacks`]. A type serves one object of one patch.
///
/// # Examples
///
/// ```
/// use kernel::sync::atomic::{Atomic, Relaxed};
///
/// static LIMIT: Atomic<i32> = Atomic::new(100);
///
/// struct RaiseLimit;
///
/// #[vtable]
/// impl klp::StatefulCallbacks for RaiseLimit {
///     type State = i32; // the old limit
///
///     fn pre_patch(_obj: &klp::Object) -> impl PinInit<i32, Error> {
///         Ok(LIMIT.xchg(1000, Relaxed))
///     }
///
///     fn post_unpatch(_obj: &klp::Object, old: Pin<KBox<i32>>) {
///         LIMIT.store(*old, Relaxed);
///     }
/// }
/// ```
///
/// [`pre_patch`]: StatefulCallbacks::pre_patch
/// [`post_unpatch`]: StatefulCallbacks::post_unpatch
#[vtable]
pub trait StatefulCallbacks: 'static {
    /// What the patch keeps while the object is patched.
    type State: Send + Sync + 'static;

    /// Runs before the object is patched: checks, acquires, and makes the state, or refuses.
    ///
    /// The memory for the state is there already when this runs: after the last thing here that can fail, nothing else
    /// can.
    ///
    /// # Errors
    ///
    /// As [`Callbacks::pre_patch`]; `ENOMEM`, without this function being called, when there is no memory for the state.
    fn pre_patch(obj: &Object) -> impl PinInit<Self::State, Error>;

    /// As [`Callbacks::post_patch`]; may run again when an unpatching transition is reversed.
    fn post_patch(_obj: &Object, _state: Pin<&Self::State>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// As [`Callbacks::pre_unpatch`].
    fn pre_unpatch(_obj: &Object, _state: Pin<&Self::State>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// As [`Callbacks::post_unpatch`]; takes the state back.
    fn post_unpatch(obj: &Object, state: Pin<KBox<Self::State>>);
}

/// The slot of the state of `T`.
pub type SlotOf<T> = Slot<<T as StatefulCallbacks>::State>;

/// Names the slot that holds the state; [`livepatch!`](crate::livepatch!) implements it.
pub trait Slotted: StatefulCallbacks {
    /// The slot of the one object that the type serves.
    #[doc(hidden)]
    fn slot() -> &'static SlotOf<Self>;

    /// The state, for replacement functions; see [`Slot::read`].
    fn state() -> Option<crate::StateRef<'static, Self::State>> {
        Self::slot().read()
    }
}

/// The callbacks of one object in the form that the core reads.
pub struct Ops {
    pub(crate) raw: bindings::klp_callbacks,
    /// Frees what an object still holds when the module goes.
    pub(crate) release: Option<fn()>,
}

const NO_CALLBACKS: bindings::klp_callbacks = bindings::klp_callbacks {
    pre_patch: None,
    post_patch: None,
    pre_unpatch: None,
    post_unpatch: None,
    post_unpatch_enabled: false,
};

/// The entry of an optional callback: the trampoline where the author wrote one, else null.
macro_rules! hook {
    ($written:expr, $trampoline:expr) => {
        if $written {
            Some($trampoline)
        } else {
            None
        }
    };
}

impl Ops {
    /// No callback at all.
    pub const NONE: Self = Self {
        raw: NO_CALLBACKS,
        release: None,
    };

    /// The table of [`Callbacks`].
    pub const fn callbacks<T: Callbacks>() -> Self {
        Self {
            raw: bindings::klp_callbacks {
                pre_patch: hook!(T::HAS_PRE_PATCH, Stateless::<T>::pre_patch),
                post_patch: hook!(T::HAS_POST_PATCH, Stateless::<T>::post_patch),
                pre_unpatch: hook!(T::HAS_PRE_UNPATCH, Stateless::<T>::pre_unpatch),
                post_unpatch: hook!(T::HAS_POST_UNPATCH, Stateless::<T>::post_unpatch),
                ..NO_CALLBACKS
            },
            release: None,
        }
    }

    /// The table of [`StatefulCallbacks`].
    pub const fn stateful<T: Slotted>() -> Self {
        Self {
            raw: bindings::klp_callbacks {
                pre_patch: Some(Stateful::<T>::pre_patch),
                post_patch: hook!(T::HAS_POST_PATCH, Stateful::<T>::post_patch),
                pre_unpatch: hook!(T::HAS_PRE_UNPATCH, Stateful::<T>::pre_unpatch),
                post_unpatch: Some(Stateful::<T>::post_unpatch),
                ..NO_CALLBACKS
            },
            release: Some(|| drop(T::slot().take())),
        }
    }

    /// The author's table of an object that has redirects as well.
    #[cfg(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64)))]
    pub const fn redirected<T: Redirected>() -> Self {
        Self {
            raw: bindings::klp_callbacks {
                pre_patch: Some(WithRedirects::<T>::pre_patch),
                post_patch: Some(WithRedirects::<T>::post_patch),
                pre_unpatch: Some(WithRedirects::<T>::pre_unpatch),
                post_unpatch: Some(WithRedirects::<T>::post_unpatch),
                post_unpatch_enabled: cfg!(klp_state_callbacks),
            },
            release: Some(|| {
                redirect::remove(T::redirects());
                if let Some(release) = T::OPS.release {
                    release();
                }
            }),
        }
    }

    /// The table `T::OPS` of an object whose replacements call their originals.
    #[cfg(all(CONFIG_HAVE_STATIC_CALL, CONFIG_X86_64))]
    pub const fn wrapping<T: Wrapping>() -> Self {
        Self {
            raw: bindings::klp_callbacks {
                pre_patch: Some(aim_then_pre_patch::<T>),
                post_unpatch_enabled: cfg!(klp_state_callbacks),
                ..T::OPS.raw
            },
            release: T::OPS.release,
        }
    }
}

/// An object with replacements that call their originals; [`livepatch!`](crate::livepatch!) implements it.
#[cfg(all(CONFIG_HAVE_STATIC_CALL, CONFIG_X86_64))]
pub trait Wrapping: 'static {
    /// The other callbacks.
    const OPS: Ops;

    /// The originals, parallel to the table of functions.
    fn originals() -> &'static [Option<Original>];
}

/// The trampoline of pre_patch for such an object.
///
/// # Safety
///
/// `obj` must be what the core passes to a callback.
#[cfg(all(CONFIG_HAVE_STATIC_CALL, CONFIG_X86_64))]
unsafe extern "C" fn aim_then_pre_patch<T: Wrapping>(obj: *mut bindings::klp_object) -> c_int {
    kernel::error::from_result(|| {
        // SAFETY: The duty of the trampolines; the reference ends with the call. The list is parallel by that of the trait.
        unsafe { original::aim(Object::from_raw(obj), T::originals()) }?;
        // SAFETY: The duty of the trampolines.
        Ok(T::OPS.raw.pre_patch.map_or(0, |f| unsafe { f(obj) }))
    })
}

/// An object with redirects; [`livepatch!`](crate::livepatch!) implements it.
#[cfg(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64)))]
pub trait Redirected: 'static {
    /// The author's callbacks.
    const OPS: Ops;

    /// The redirects of the one object that the type stands for.
    fn redirects() -> &'static [Redirect];
}

/// Trampolines of an object with redirects, with the duty of [`Stateless`], around those of the author. To whom the
/// redirects are as the functions: in force from before his `post_patch` to after his `pre_unpatch`.
#[cfg(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64)))]
struct WithRedirects<T: Redirected>(core::marker::PhantomData<T>);

#[cfg(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64)))]
#[expect(clippy::missing_safety_doc, reason = "the duty stands at the type")]
impl<T: Redirected> WithRedirects<T> {
    unsafe extern "C" fn pre_patch(obj: *mut bindings::klp_object) -> c_int {
        // SAFETY: The duty of the trampolines; the reference ends with the call.
        let object = unsafe { Object::from_raw(obj) };
        kernel::error::from_result(|| {
            redirect::prepare(object, T::redirects())?;
            // SAFETY: The duty of the trampolines.
            let ret = T::OPS.raw.pre_patch.map_or(0, |f| unsafe { f(obj) });
            if ret != 0 {
                // The core calls no other callback of this object.
                redirect::remove(T::redirects());
            }
            Ok(ret)
        })
    }

    unsafe extern "C" fn post_patch(obj: *mut bindings::klp_object) {
        // SAFETY: As in `pre_patch`.
        redirect::arm(unsafe { Object::from_raw(obj) }, T::redirects());
        if let Some(f) = T::OPS.raw.post_patch {
            // SAFETY: The duty of the trampolines.
            unsafe { f(obj) };
        }
    }

    unsafe extern "C" fn pre_unpatch(obj: *mut bindings::klp_object) {
        if let Some(f) = T::OPS.raw.pre_unpatch {
            // SAFETY: The duty of the trampolines.
            unsafe { f(obj) };
        }
        // SAFETY: As in `pre_patch`.
        redirect::disarm(unsafe { Object::from_raw(obj) }, T::redirects());
    }

    unsafe extern "C" fn post_unpatch(obj: *mut bindings::klp_object) {
        redirect::remove(T::redirects());
        if let Some(f) = T::OPS.raw.post_unpatch {
            // SAFETY: The duty of the trampolines.
            unsafe { f(obj) };
        }
    }
}

/// Trampolines of [`Callbacks`]. The duty of each: `obj` is what the core passes to a callback.
struct Stateless<T: Callbacks>(core::marker::PhantomData<T>);

#[expect(clippy::missing_safety_doc, reason = "the duty stands at the type")]
impl<T: Callbacks> Stateless<T> {
    unsafe extern "C" fn pre_patch(obj: *mut bindings::klp_object) -> c_int {
        // SAFETY: The duty of the trampolines; the reference ends with the call.
        let obj = unsafe { Object::from_raw(obj) };
        kernel::error::from_result(|| T::pre_patch(obj).map(|()| 0))
    }

    unsafe extern "C" fn post_patch(obj: *mut bindings::klp_object) {
        // SAFETY: As in `pre_patch`.
        T::post_patch(unsafe { Object::from_raw(obj) });
    }

    unsafe extern "C" fn pre_unpatch(obj: *mut bindings::klp_object) {
        // SAFETY: As in `pre_patch`.
        T::pre_unpatch(unsafe { Object::from_raw(obj) });
    }

    unsafe extern "C" fn post_unpatch(obj: *mut bindings::klp_object) {
        // SAFETY: As in `pre_patch`.
        T::post_unpatch(unsafe { Object::from_raw(obj) });
    }
}

/// Trampolines of [`StatefulCallbacks`], with the same duty. The slot is full from the success of `pre_patch` to
/// `post_unpatch`, which is when the core calls the others.
struct Stateful<T: Slotted>(core::marker::PhantomData<T>);

#[expect(clippy::missing_safety_doc, reason = "the duty stands at the type")]
impl<T: Slotted> Stateful<T> {
    unsafe extern "C" fn pre_patch(obj: *mut bindings::klp_object) -> c_int {
        // SAFETY: The duty of the trampolines; the reference ends with the call.
        let obj = unsafe { Object::from_raw(obj) };
        kernel::error::from_result(|| {
            // The memory first: what the callback changes could not be given back without the state.
            let room = KBox::new_uninit(GFP_KERNEL)?;
            T::slot().fill(room.write_pin_init(T::pre_patch(obj))?);
            Ok(0)
        })
    }

    unsafe extern "C" fn post_patch(obj: *mut bindings::klp_object) {
        // SAFETY: The core calls only the callbacks of one object at a time, so nobody takes the state meanwhile.
        if let Some(state) = unsafe { T::slot().get() } {
            // SAFETY: As in `pre_patch`.
            T::post_patch(unsafe { Object::from_raw(obj) }, state);
        }
    }

    unsafe extern "C" fn pre_unpatch(obj: *mut bindings::klp_object) {
        // SAFETY: As in `post_patch`.
        if let Some(state) = unsafe { T::slot().get() } {
            // SAFETY: As in `pre_patch`.
            T::pre_unpatch(unsafe { Object::from_raw(obj) }, state);
        }
    }

    unsafe extern "C" fn post_unpatch(obj: *mut bindings::klp_object) {
        if let Some(state) = T::slot().take() {
            // SAFETY: As in `pre_patch`.
            T::post_unpatch(unsafe { Object::from_raw(obj) }, state);
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Shadow variables: fields that a structure of the running kernel lacks.
//!
//! # Which tool to choose
//!
//! - One value for the whole object that is patched: [`StatefulCallbacks`](crate::StatefulCallbacks).
//! - A value for each of many structures (sockets, files, devices): [`Shadow`].
//! - Knowledge that the next livepatch must inherit: [`SystemState`](crate::SystemState).
//!
//! # How long a shadow variable lives
//!
//! The kernel keeps it by the address of its parent and an id until somebody frees it; neither the end of the parent nor
//! that of the patch does. So a patch attaches in the replacement of what creates or first uses the parent, frees in the
//! replacement of what destroys it (else the next structure at that address inherits the value), and frees all in the
//! post-unpatch callback. Under atomic replace that callback never runs and the variables pass to the successor, which
//! declares them with the same id and type. Its own post-unpatch callback runs also when its transition is reversed, and must
//! not free then what the patch before still uses: [`SystemState::previous`](crate::SystemState::previous) tells.
//!
//! # Not supported
//!
//! - A reference that outlives an RCU read-side critical section in safe code; see [`Shadow::get_unguarded`].
//! - Alignment beyond that of a machine word.
//! - Walking over all variables of an id: the kernel offers none, except to free them.
//!
//! Specification: `Documentation/livepatch/shadow-vars.rst`.
//! C header: [`include/linux/livepatch.h`](srctree/include/linux/livepatch.h)

use core::{
    marker::PhantomData,
    mem::{
        align_of,
        needs_drop,
        size_of,
        transmute,
        MaybeUninit, //
    },
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    alloc::Flags,
    error::from_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::rcu, //
};

use crate::{
    bindings,
    FixedLayout, //
};

/// A shadow variable of type `T` that any `struct P` may have, under one id.
///
/// The parent serves as a key only: its address is compared, never followed.
///
/// Where it may be used:
///
/// | | process, softirq | hard interrupt, preemption off | NMI |
/// |---|---|---|---|
/// | [`get`](Shadow::get) | yes | yes | yes |
/// | all that attaches or frees | yes | yes, but not on PREEMPT_RT | no |
///
/// The second row takes a `spinlock_t` of the kernel, on which an NMI would deadlock and which sleeps on PREEMPT_RT. The
/// allocation flags and the content of `T` have their own rules.
///
/// # Examples
///
/// ```
/// use kernel::{
///     bindings,
///     sync::atomic::{Atomic, Relaxed}, //
/// };
///
/// // SAFETY: The id belongs to this family of patches, which has never used it for anything but
/// // a bare counter.
/// static OPENED: klp::Shadow<bindings::inode, Atomic<u64>> =
///     unsafe { klp::Shadow::new(0x6f70_656e) };
/// # let inode = core::ptr::dangling();
///
/// // In the replacement of the function that opens one; `GFP_ATOMIC` where it may not sleep:
/// if let Ok(opened) = OPENED.get_or_alloc(inode, GFP_KERNEL, Atomic::new(0)) {
///     opened.fetch_add(1, Relaxed);
/// }
/// assert_eq!(OPENED.get(inode).map(|opened| opened.load(Relaxed)), Some(1));
///
/// // In the replacement of the function that frees the inode:
/// OPENED.free(inode);
/// assert!(OPENED.get(inode).is_none());
///
/// // The error of what initializes it comes back, and nothing is attached.
/// let refused = Err::<Atomic<u64>, Error>(EBUSY);
/// assert_eq!(OPENED.get_or_alloc(inode, GFP_KERNEL, refused).err(), Some(EBUSY));
/// assert!(OPENED.get(inode).is_none());
///
/// // In the post-unpatch callback:
/// OPENED.free_all();
/// ```
///
/// # Invariants
///
/// Every shadow variable with this id holds a valid, pinned `T`.
pub struct Shadow<P, T: FixedLayout + Send + Sync + 'static> {
    id: c_ulong,
    _types: PhantomData<fn(*const P) -> T>,
}

impl<P, T: FixedLayout + Send + Sync + 'static> Shadow<P, T> {
    /// The shadow variable with this `id`.
    ///
    /// # Safety
    ///
    /// Whoever uses `id` on this system, C patches and older or newer versions of this one included, must keep in it a `T`
    /// of the same meaning, at least as long as variables that this one can find exist.
    pub const unsafe fn new(id: usize) -> Self {
        const {
            assert!(
                align_of::<T>() <= align_of::<c_ulong>(),
                "a shadow variable is aligned to a machine word"
            )
        };
        // INVARIANT: By the duty of this function.
        Self {
            id,
            _types: PhantomData,
        }
    }

    /// The id.
    pub const fn id(&self) -> usize {
        self.id
    }

    /// The variable of `parent`, or `None` if it has none: `klp_shadow_get()`.
    ///
    /// The reference holds an RCU read-side critical section: **the caller must not sleep while it lives**. The variable may
    /// be detached meanwhile, but is not freed.
    pub fn get(&self, parent: *const P) -> Option<ShadowRef<T>> {
        let guard = rcu::read_lock();
        let value = NonNull::new(self.lookup(parent))?;
        // INVARIANT: By the type invariant of `Shadow` the variable is a `T`; it was in the table inside `guard`'s critical
        // section, so that its memory, freed by kfree_rcu(), outlives `guard`. Its content does because whoever drops it
        // early has promised in `drop_and_free` that there is no such reference.
        Some(ShadowRef {
            value,
            _guard: guard,
        })
    }

    /// The variable of `parent`, without a guard, so that the caller may sleep or keep it: `klp_shadow_get()`.
    ///
    /// # Safety
    ///
    /// For `'a` nobody may free the variable. Usually the caller holds a reference to `parent` or a lock that whoever frees the
    /// variable needs too; remember [`free_all`](Shadow::free_all), which a forced transition lets overtake a replacement.
    pub unsafe fn get_unguarded<'a>(&self, parent: *const P) -> Option<Pin<&'a T>> {
        // SAFETY: By the type invariant the variable is a pinned `T`; by the duty of this function it stays for `'a`.
        unsafe { self.lookup(parent).as_ref().map(|t| Pin::new_unchecked(t)) }
    }

    /// The variable of `parent`, attached now if it has none: `klp_shadow_get_or_alloc()`.
    ///
    /// The memory is allocated with `flags`. `init` runs at most once, only if there is no variable yet, **in atomic
    /// context** with interrupts off and a lock held: it must not sleep, nor use shadow variables. Others see the variable
    /// when it is complete.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the error of `init`, which the kernel logs; `EAGAIN` if somebody freed the new variable at once.
    pub fn get_or_alloc<E>(
        &self,
        parent: *const P,
        flags: Flags,
        init: impl PinInit<T, E>,
    ) -> Result<ShadowRef<T>>
    where
        Error: From<E>,
    {
        match self.get(parent) {
            Some(value) => Ok(value),
            None => self.create(parent, flags, init, bindings::klp_shadow_get_or_alloc),
        }
    }

    /// Sees to it that `parent` has a variable: [`get_or_alloc`](Shadow::get_or_alloc) for who does not look at it.
    ///
    /// A reference has to be looked up anew after an allocation that may have slept; this is the bare call of the kernel.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the error of `init`, which the kernel logs.
    pub fn attach<E>(&self, parent: *const P, flags: Flags, init: impl PinInit<T, E>) -> Result
    where
        Error: From<E>,
    {
        self.call(parent, flags, init, bindings::klp_shadow_get_or_alloc)?
            .map(|_| ())
            .ok_or(ENOMEM)
    }

    /// Attaches a variable to `parent`, which must not have one: `klp_shadow_alloc()`. Else as
    /// [`get_or_alloc`](Shadow::get_or_alloc).
    ///
    /// # Errors
    ///
    /// As [`get_or_alloc`](Shadow::get_or_alloc); also `EEXIST`, with a warning and a backtrace in the kernel's log.
    pub fn alloc<E>(
        &self,
        parent: *const P,
        flags: Flags,
        init: impl PinInit<T, E>,
    ) -> Result<ShadowRef<T>>
    where
        Error: From<E>,
    {
        self.create(parent, flags, init, bindings::klp_shadow_alloc)
    }

    /// Detaches and frees the variable of `parent`, if it has one: `klp_shadow_free()`.
    ///
    /// References that exist stay valid. For a `T` that needs no drop; otherwise this does not compile, and
    /// [`drop_and_free`](Shadow::drop_and_free) is the one to use.
    pub fn free(&self, parent: *const P) {
        const { assert!(!needs_drop::<T>(), "use drop_and_free") };
        // SAFETY: Without a destructor the only effect on the memory is kfree_rcu().
        unsafe { bindings::klp_shadow_free(parent.cast_mut().cast(), self.id, None) };
    }

    /// Detaches and frees the variables of all parents: `klp_shadow_free_all()`. Else as [`free`](Shadow::free).
    ///
    /// Walks the whole table of the kernel's shadow variables with interrupts off.
    pub fn free_all(&self) {
        const { assert!(!needs_drop::<T>(), "use drop_and_free_all") };
        // SAFETY: As in `free`.
        unsafe { bindings::klp_shadow_free_all(self.id, None) };
    }

    /// Detaches the variable of `parent`, drops it and frees its memory: `klp_shadow_free()` with a destructor.
    ///
    /// `T::drop` runs in atomic context, as the `init` of [`get_or_alloc`](Shadow::get_or_alloc) does.
    ///
    /// # Safety
    ///
    /// No reference to this variable may exist, and none may be taken until the call returns. That is so where the last
    /// reference to `parent` is gone, or under a lock that every user of the variable takes before looking it up.
    pub unsafe fn drop_and_free(&self, parent: *const P) {
        // SAFETY: `destroy` is the destructor for a `T`, which the variable is by the type invariant; by the duty of this
        // function nobody uses it.
        unsafe { bindings::klp_shadow_free(parent.cast_mut().cast(), self.id, Some(destroy::<T>)) };
    }

    /// Detaches, drops and frees the variables of all parents: `klp_shadow_free_all()` with a destructor. Else as
    /// [`drop_and_free`](Shadow::drop_and_free).
    ///
    /// # Safety
    ///
    /// As [`drop_and_free`](Shadow::drop_and_free), for every parent. In a post-unpatch callback that is so unless the
    /// transition was forced.
    pub unsafe fn drop_and_free_all(&self) {
        // SAFETY: As in `drop_and_free`.
        unsafe { bindings::klp_shadow_free_all(self.id, Some(destroy::<T>)) };
    }

    fn lookup(&self, parent: *const P) -> *mut T {
        // SAFETY: The function compares the address only.
        unsafe { bindings::klp_shadow_get(parent.cast_mut().cast(), self.id) }.cast()
    }

    /// Creates a variable and looks it up: the kernel's pointer alone may be stale by now.
    fn create<I, E>(
        &self,
        parent: *const P,
        flags: Flags,
        init: I,
        alloc: AllocFn,
    ) -> Result<ShadowRef<T>>
    where
        I: PinInit<T, E>,
        Error: From<E>,
    {
        let data = self.call(parent, flags, init, alloc)?;
        match (self.get(parent), data) {
            (Some(value), Some(_)) => Ok(value),
            (Some(_), None) => Err(EEXIST),
            (None, Some(_)) => Err(EAGAIN),
            (None, None) => Err(ENOMEM),
        }
    }

    /// Calls `alloc`; gives what it returned, which may be freed at any time, or the error of `init`.
    fn call<I, E>(
        &self,
        parent: *const P,
        flags: Flags,
        init: I,
        alloc: AllocFn,
    ) -> Result<Option<NonNull<c_void>>>
    where
        I: PinInit<T, E>,
        Error: From<E>,
    {
        let mut ctor = Constructor {
            init: Some(init),
            result: Ok(()),
        };
        // SAFETY: `construct` gets what it expects: room for a `T` and the constructor, which outlives the call.
        let data = unsafe {
            alloc(
                parent.cast_mut().cast(),
                self.id,
                size_of::<T>(),
                raw_flags(flags),
                Some(construct::<T, I, E>),
                (&raw mut ctor).cast(),
            )
        };
        ctor.result?;
        Ok(NonNull::new(data))
    }
}

/// Shared access to a shadow variable, inside an RCU read-side critical section: do not sleep while it lives.
///
/// # Invariants
///
/// `value` is valid for reads as long as the guard lives.
pub struct ShadowRef<T> {
    value: NonNull<T>,
    _guard: rcu::Guard,
}

impl<T> Deref for ShadowRef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariant.
        unsafe { self.value.as_ref() }
    }
}

/// What `klp_shadow_alloc()` and `klp_shadow_get_or_alloc()` have in common.
type AllocFn = unsafe extern "C" fn(
    *mut c_void,
    c_ulong,
    usize,
    bindings::gfp_t,
    bindings::klp_shadow_ctor_t,
    *mut c_void,
) -> *mut c_void;

/// What the trampoline of the constructor needs, and what it tells.
struct Constructor<I> {
    init: Option<I>,
    result: Result,
}

/// Initializes a variable that nobody sees yet.
///
/// # Safety
///
/// `data` must be room for a `T`, and `ctor` a `Constructor<I>` that nobody else uses.
unsafe extern "C" fn construct<T: 'static, I, E>(
    _parent: *mut c_void,
    data: *mut c_void,
    ctor: *mut c_void,
) -> c_int
where
    I: PinInit<T, E>,
    Error: From<E>,
{
    // SAFETY: The duty of this function.
    let ctor = unsafe { &mut *ctor.cast::<Constructor<I>>() };
    if let Some(init) = ctor.init.take() {
        // SAFETY: The duty of this function; the kernel frees the room on an error and never moves the variable. The reference
        // is given up before the kernel does either.
        let room: &'static mut MaybeUninit<T> = unsafe { &mut *data.cast() };
        ctor.result = room.write_pin_init(init).map(|_| ()).map_err(Error::from);
    }
    from_result(|| ctor.result.map(|()| 0))
}

/// Drops a variable that is out of the table.
///
/// # Safety
///
/// `data` must be a valid `T` that nobody uses any more.
unsafe extern "C" fn destroy<T>(_parent: *mut c_void, data: *mut c_void) {
    // SAFETY: The duty of this function.
    unsafe { data.cast::<T>().drop_in_place() };
}

/// The number in `flags`, which the kernel crate keeps to itself.
fn raw_flags(flags: Flags) -> bindings::gfp_t {
    // SAFETY: The only field of `Flags` is a `u32`, and `transmute` checks that there is room for nothing else.
    unsafe { transmute::<Flags, u32>(flags) }
}

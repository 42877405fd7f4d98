// SPDX-License-Identifier: GPL-2.0

//! Module parameters that sysfs shows and, where allowed, rewrites at run time.
//!
//! `kernel::module!` offers integers that are written once and are not in sysfs. A livepatch is often steered while it
//! is loaded, so [`param!`](crate::param!) makes the entry that the C macro `module_param()` makes.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use core::{
    cell::UnsafeCell,
    mem::{
        align_of,
        size_of, //
    },
};

use kernel::{
    bindings,
    ffi::{
        c_char,
        c_int,
        c_uint, //
    },
    prelude::*,
    str::CStr, //
};

/// A module parameter, made by [`param!`](crate::param!).
///
/// User space may rewrite it at any time where its permissions allow, so read it once and decide on what was read.
#[repr(transparent)]
pub struct Param<T: ParamValue>(UnsafeCell<T>);

// SAFETY: By the contract of `ParamValue` all accesses are single ones, of which any order and any value is fine.
unsafe impl<T: ParamValue> Sync for Param<T> {}

impl<T: ParamValue> Param<T> {
    /// A parameter with its default.
    #[doc(hidden)]
    pub const fn new(default: T) -> Self {
        const { single_access::<T>() };
        Self(UnsafeCell::new(default))
    }

    /// The value now, as by `READ_ONCE()`.
    pub fn get(&self) -> T {
        // SAFETY: The cell is valid, and `T` is read by a single access.
        unsafe { self.0.get().read_volatile() }
    }
}

/// A type that a parameter may have: `bool`, `i32`, `u32`, `usize`, [`Bounded`], and the words that [`param!`](crate::param!) declares.
///
/// # Safety
///
/// The type must be read and written by a single access: 1, 2, 4 or 8 bytes, aligned to as many. `OPS` must set and show a value of this very type through
/// `kernel_param.arg`.
pub unsafe trait ParamValue: Copy + 'static {
    /// The kernel's functions for the type.
    #[doc(hidden)]
    const OPS: *const bindings::kernel_param_ops;
}

/// Refuses what no processor reads at once, such as `[u8; 3]`.
const fn single_access<T>() {
    let size = size_of::<T>();
    assert!(
        matches!(size, 1 | 2 | 4) || size == size_of::<usize>(),
        "a parameter is read by a single access"
    );
    assert!(
        size == align_of::<T>(),
        "a parameter is read by a single access"
    );
}

macro_rules! kernel_ops {
    ($($ty:ty => $ops:ident),* $(,)?) => {
        $(
            // SAFETY: The kernel's `param_set_*()` and `param_get_*()` of this type access it as such.
            unsafe impl ParamValue for $ty {
                const OPS: *const bindings::kernel_param_ops = &raw const bindings::$ops;
            }
        )*
    };
}

kernel_ops! {
    bool => param_ops_bool,
    i32 => param_ops_int,
    u32 => param_ops_uint,
    usize => param_ops_ulong,
}

/// A number from `MIN` to `MAX`; [`param!`](crate::param!) makes one of `u32 in MIN..=MAX`.
///
/// # Examples
///
/// ```
/// let percent = klp::Bounded::<0, 100>::new::<50>();
/// assert_eq!(percent.value(), 50);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bounded<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// `VALUE`, which is checked when the module is compiled.
    pub const fn new<const VALUE: u32>() -> Self {
        const { assert!(MIN <= VALUE && VALUE <= MAX, "the default is out of range") };
        Self(VALUE)
    }

    /// The number.
    pub fn value(self) -> u32 {
        self.0
    }
}

// SAFETY: The type is a transparent `u32`; the functions access it as such.
unsafe impl<const MIN: u32, const MAX: u32> ParamValue for Bounded<MIN, MAX> {
    const OPS: *const bindings::kernel_param_ops = &bindings::kernel_param_ops {
        flags: 0,
        set: Some(set_bounded::<MIN, MAX>),
        get: Some(bindings::param_get_uint),
        free: None,
    };
}

/// Accepts a number of the range; else `EINVAL`, or `ERANGE` for what no `u32` can hold.
///
/// # Safety
///
/// As `set` of a `kernel_param_ops`, for an entry whose `arg` points to such a parameter in a static.
unsafe extern "C" fn set_bounded<const MIN: u32, const MAX: u32>(
    val: *const c_char,
    param: *const bindings::kernel_param,
) -> c_int {
    // SAFETY: The kernel passes what `kernel_param_ops.set` gets, and `arg` points to a transparent `u32`.
    unsafe { bindings::param_set_uint_minmax(val, param, MIN, MAX) }
}

/// A parameter that is one of several words; [`param!`](crate::param!) implements it.
pub trait Choice: ParamValue + PartialEq {
    /// The words and what they mean.
    const WORDS: &'static [(&'static CStr, Self)];

    /// The kernel's table for the type.
    #[doc(hidden)]
    const CHOICE_OPS: bindings::kernel_param_ops = bindings::kernel_param_ops {
        flags: 0,
        set: Some(set_choice::<Self>),
        get: Some(get_choice::<Self>),
        free: None,
    };
}

/// Accepts one of the words, with or without the newline that `echo` adds; else `EINVAL`.
///
/// # Safety
///
/// As `set` of a `kernel_param_ops`, for an entry whose `arg` points to such a parameter in a static.
unsafe extern "C" fn set_choice<T: Choice>(
    val: *const c_char,
    param: *const bindings::kernel_param,
) -> c_int {
    if val.is_null() {
        return EINVAL.to_errno();
    }
    for (word, value) in T::WORDS {
        // SAFETY: The kernel passes a C string, and `word` is one.
        if unsafe { bindings::sysfs_streq(val, word.as_char_ptr()) } {
            // SAFETY: `ParamEntry::new` made `arg` point to a `Param<T>` in a static.
            let param = unsafe { &*(*param).__bindgen_anon_1.arg.cast::<Param<T>>() };
            // SAFETY: The cell is valid, and `T` is written by a single access.
            unsafe { param.0.get().write_volatile(*value) };
            return 0;
        }
    }
    EINVAL.to_errno()
}

/// Shows the word and a newline.
///
/// # Safety
///
/// As `get` of a `kernel_param_ops`, for an entry whose `arg` points to such a parameter in a static.
unsafe extern "C" fn get_choice<T: Choice>(
    buffer: *mut c_char,
    param: *const bindings::kernel_param,
) -> c_int {
    // SAFETY: As in `set_choice`.
    let now = unsafe { &*(*param).__bindgen_anon_1.arg.cast::<Param<T>>() }.get();
    let Some((word, _)) = T::WORDS.iter().find(|(_, value)| *value == now) else {
        return EINVAL.to_errno();
    };
    // SAFETY: The kernel passes a page, which is what `sysfs_emit()` asks for; the format takes one C string.
    unsafe { bindings::sysfs_emit(buffer, c"%s\n".as_char_ptr(), word.as_char_ptr()) }
}

/// A parameter that takes up to `N` values with commas between them, made by [`param!`](crate::param!).
///
/// User space may rewrite it as it may a [`Param`]. Each value is read by a single access; a reader that meets a writer
/// may see values of both, and a length that still grows.
pub struct ParamArray<T: ParamValue, const N: usize> {
    values: UnsafeCell<[T; N]>,
    len: UnsafeCell<c_uint>,
}

// SAFETY: As for `Param`, for each value and for the length.
unsafe impl<T: ParamValue, const N: usize> Sync for ParamArray<T, N> {}

impl<T: ParamValue, const N: usize> ParamArray<T, N> {
    /// An array that has no values yet; `fill` stands where none was given.
    #[doc(hidden)]
    pub const fn new(fill: T) -> Self {
        const { single_access::<T>() };
        Self {
            values: UnsafeCell::new([fill; N]),
            len: UnsafeCell::new(0),
        }
    }

    /// What the kernel wants to know of the array.
    #[doc(hidden)]
    pub const fn raw(&'static self) -> ParamArrayRaw {
        ParamArrayRaw(bindings::kparam_array {
            max: N as c_uint,
            elemsize: size_of::<T>() as c_uint,
            num: self.len.get(),
            ops: T::OPS,
            elem: self.values.get().cast(),
        })
    }

    /// How many values were given.
    pub fn len(&self) -> usize {
        // SAFETY: The cell is valid, and the length is read by a single access.
        unsafe { self.len.get().read_volatile() as usize }
    }

    /// Whether no value was given.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values now, each as by `READ_ONCE()`.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        let values = self.values.get().cast::<T>();
        (0..self.len().min(N)).map(move |i| {
            // SAFETY: `i` is below `N`, and `T` is read by a single access.
            unsafe { values.add(i).read_volatile() }
        })
    }
}

/// The kernel's description of a [`ParamArray`].
#[doc(hidden)]
#[repr(transparent)]
pub struct ParamArrayRaw(bindings::kparam_array);

// SAFETY: The kernel only reads the description; for what it points to see `ParamArray`.
unsafe impl Sync for ParamArrayRaw {}

/// The entry in the section `__param` that tells the module loader and sysfs of a parameter.
#[doc(hidden)]
#[repr(transparent)]
pub struct ParamEntry(bindings::kernel_param);

// SAFETY: The kernel serializes what it does with the entry; the value itself is atomic.
unsafe impl Sync for ParamEntry {}

impl ParamEntry {
    /// The entry of `param`.
    pub const fn new<T: ParamValue>(
        name: &'static CStr,
        module: *mut bindings::module,
        param: &'static Param<T>,
        perm: u16,
    ) -> Self {
        let arg = core::ptr::from_ref(param).cast_mut().cast();
        Self::of(
            name,
            module,
            T::OPS,
            bindings::kernel_param__bindgen_ty_1 { arg },
            perm,
        )
    }

    /// The entry of an array.
    pub const fn array(
        name: &'static CStr,
        module: *mut bindings::module,
        array: &'static ParamArrayRaw,
        perm: u16,
    ) -> Self {
        let ops = &raw const bindings::param_array_ops;
        let arr = &raw const array.0;
        Self::of(
            name,
            module,
            ops,
            bindings::kernel_param__bindgen_ty_1 { arr },
            perm,
        )
    }

    const fn of(
        name: &'static CStr,
        module: *mut bindings::module,
        ops: *const bindings::kernel_param_ops,
        value: bindings::kernel_param__bindgen_ty_1,
        perm: u16,
    ) -> Self {
        assert!(perm & !0o664 == 0, "permissions beyond 0664");
        Self(bindings::kernel_param {
            name: kernel::str::as_char_ptr_in_const_context(name),
            mod_: module,
            ops,
            perm,
            level: -1,
            flags: 0,
            __bindgen_anon_1: value,
        })
    }
}

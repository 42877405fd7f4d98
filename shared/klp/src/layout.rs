// SPDX-License-Identifier: GPL-2.0

//! Data that passes from one module to another, which the compiler saw at different times.

use kernel::sync::{
    atomic::{
        Atomic,
        AtomicType, //
    },
    SpinLock, //
};

/// A type that every module lays out alike, whenever and by whichever compiler it was built.
///
/// rustc orders the fields of a struct as it likes, and may order them otherwise in the next version of a patch.
/// [`fixed_layout!`](crate::fixed_layout!) declares a struct that is laid out as C would, of fields that are.
///
/// # Safety
///
/// The layout must be that of C. Nothing in it may lead into a module, as references to statics and functions do.
pub unsafe trait FixedLayout {}

macro_rules! fixed {
    ($($type:ty),+ $(,)?) => {
        $(
            // SAFETY: A number has the layout that C gives it.
            unsafe impl FixedLayout for $type {}
        )+
    };
}

fixed!(bool, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

// SAFETY: There is nothing to lay out. For a state that is declared and has no data.
unsafe impl FixedLayout for () {}

// SAFETY: Elements follow each other as in C.
unsafe impl<T: FixedLayout, const N: usize> FixedLayout for [T; N] {}

// SAFETY: An atomic is a transparent number.
unsafe impl<T: AtomicType + FixedLayout> FixedLayout for Atomic<T> {}

/// On a kernel with lockdep the class and the name of a lock lie in the module that made it. lockdep reads the name in its
/// reports: so, on such a kernel, let that module stay as long as the lock.
// SAFETY: C's `spinlock_t` and then what it protects: `Lock` is `repr(C)`. Without lockdep nothing in it leads into a module.
unsafe impl<T: FixedLayout> FixedLayout for SpinLock<T> {}

/// Declares a struct that every module lays out alike: C's layout, and fields that have it.
///
/// # Examples
///
/// ```
/// klp::fixed_layout! {
///     /// What the limits were.
///     #[derive(Default)]
///     pub(crate) struct Limits {
///         read: u16,
///         written: u32,
///     }
/// }
///
/// assert_eq!(core::mem::offset_of!(Limits, read), 0);
/// assert_eq!(core::mem::offset_of!(Limits, written), 4);
/// ```
#[macro_export]
macro_rules! fixed_layout {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $( $(#[$fmeta:meta])* $fvis:vis $field:ident: $type:ty ),+ $(,)?
    }) => {
        $(#[$meta])*
        #[repr(C)]
        $vis struct $name {
            $( $(#[$fmeta])* $fvis $field: $type, )+
        }

        // SAFETY: So it is declared, and so are the fields.
        unsafe impl $crate::FixedLayout for $name
        where
            $($type: $crate::FixedLayout),+
        {}
    };
    ($(#[$meta:meta])* $vis:vis struct $name:ident($fvis:vis $type:ty);) => {
        $(#[$meta])*
        #[repr(transparent)]
        $vis struct $name($fvis $type);

        // SAFETY: It is its field.
        unsafe impl $crate::FixedLayout for $name
        where
            $type: $crate::FixedLayout
        {}
    };
}

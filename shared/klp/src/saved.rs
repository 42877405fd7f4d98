// SPDX-License-Identifier: GPL-2.0

//! A number of the kernel that a patch changes and gives back.

use kernel::sync::atomic::{
    Atomic,
    AtomicType,
    Full,
    Relaxed, //
};

use crate::FixedLayout;

/// What a number was before the patch changed it, and what the patch made of it. In the beginning it is not changed.
///
/// The number is the kernel's, and others write it, too: the sysctl of an administrator takes no lock that a callback could
/// hold. So each change is an exchange, which loses no write of theirs: what is not as the patch expects it is
/// somebody's choice, and stays.
///
/// Where the kernel has had two defaults, call [`change`](Self::change) once for each: the second does nothing once the first
/// has found its value.
///
/// For callbacks, of which one runs at a time. `T` is `i32`, `u32`, `i64` or `u64`.
///
/// # Examples
///
/// ```
/// use kernel::sync::atomic::{Atomic, Relaxed};
///
/// let limit = Atomic::new(100);
/// let saved = klp::Saved::<i32>::default();
/// assert!(saved.change(&limit, 100, 1000)); // in pre_patch or post_patch
/// assert_eq!(limit.load(Relaxed), 1000);
/// assert_eq!(saved.give_back(&limit), Some(100)); // in pre_unpatch or post_unpatch
/// assert_eq!(limit.load(Relaxed), 100);
///
/// // What is somebody's choice stays.
/// limit.store(50, Relaxed);
/// assert!(!saved.change(&limit, 100, 1000));
/// assert_eq!(saved.give_back(&limit), None);
/// assert_eq!(limit.load(Relaxed), 50);
/// ```
#[repr(C)]
pub struct Saved<T: AtomicType> {
    /// The same as `new` where nothing is changed.
    old: Atomic<T>,
    new: Atomic<T>,
}

// SAFETY: So it is declared; an atomic is a transparent number.
unsafe impl<T: AtomicType + FixedLayout> FixedLayout for Saved<T> {}

macro_rules! saved {
    ($($number:ty),+) => {
        $(
            impl Saved<$number> {
                /// Changes `variable` from `from` to `to`, fully ordered, unless this has changed it already or it is not `from`.
                /// Whether it did.
                pub fn change(
                    &self,
                    variable: &Atomic<$number>,
                    from: $number,
                    to: $number,
                ) -> bool {
                    let changes = self.old().is_none() && variable.cmpxchg(from, to, Full).is_ok();
                    if changes {
                        self.old.store(from, Relaxed);
                        self.new.store(to, Relaxed);
                    }
                    changes
                }

                /// Gives back what `variable` was, fully ordered, unless somebody else has changed it meanwhile. What it was,
                /// if it is so again.
                pub fn give_back(&self, variable: &Atomic<$number>) -> Option<$number> {
                    let old = self.old()?;
                    let new = self.new.xchg(old, Relaxed);
                    variable.cmpxchg(new, old, Full).ok().map(|_| old)
                }

                /// What the number was, or `None` while it is not changed.
                pub fn old(&self) -> Option<$number> {
                    let old = self.old.load(Relaxed);
                    (old != self.new.load(Relaxed)).then_some(old)
                }

                /// Takes over from a patch that is being replaced: what that has changed is to be given back by this one.
                pub fn take_over(&self, before: &Self) {
                    self.old.store(before.old.load(Relaxed), Relaxed);
                    self.new.store(before.new.load(Relaxed), Relaxed);
                }
            }

            impl Default for Saved<$number> {
                fn default() -> Self {
                    Self {
                        old: Atomic::new(0),
                        new: Atomic::new(0),
                    }
                }
            }
        )+
    };
}

saved!(i32, u32, i64, u64);

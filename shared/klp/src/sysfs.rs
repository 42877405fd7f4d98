// SPDX-License-Identifier: GPL-2.0

//! A folder below `/sys/kernel` in which a patch tells what it does.
//!
//! C headers: [`include/linux/kobject.h`](srctree/include/linux/kobject.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use core::{
    mem::zeroed,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    ffi::c_char,
    fmt,
    prelude::*,
    str::CStr, //
};

/// A file that shows one value and, where `store` is written, takes one.
///
/// Both functions run in process context, in the task that reads or writes, any number of them at a time. They may
/// sleep. Everyone may read; root may write.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fmt,
///     sync::atomic::{Atomic, Relaxed}, //
/// };
///
/// static PENDING: Atomic<u32> = Atomic::new(0);
///
/// struct Pending;
///
/// #[vtable]
/// impl klp::Attribute for Pending {
///     const NAME: &'static CStr = c"pending";
///
///     fn show() -> Result<impl fmt::Display> {
///         Ok(PENDING.load(Relaxed))
///     }
/// }
///
/// // `files: "my_patch" [Pending]` of a livepatch does the same: /sys/kernel/my_patch/pending.
/// // SAFETY: The folder is dropped here.
/// drop(unsafe { klp::Folder::new(c"my_patch") }?.with::<Pending>()?);
/// # Ok::<(), Error>(())
/// ```
#[vtable]
pub trait Attribute: 'static {
    /// The file's name.
    const NAME: &'static CStr;

    /// The value; a newline follows it. At most a page is shown.
    ///
    /// # Errors
    ///
    /// The read fails with that errno.
    fn show() -> Result<impl fmt::Display>;

    /// Takes what was written, without the newline that `echo` adds.
    ///
    /// # Errors
    ///
    /// The write fails with that errno; `EINVAL` without a call for what is not UTF-8.
    fn store(_text: &str) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

type Show = unsafe extern "C" fn(
    *mut bindings::kobject,
    *mut bindings::kobj_attribute,
    *mut c_char,
) -> isize;

type Store = unsafe extern "C" fn(
    *mut bindings::kobject,
    *mut bindings::kobj_attribute,
    *const c_char,
    usize,
) -> isize;

/// The C table of an attribute, with its duty to the trampolines: they are called by sysfs, as the header says.
struct Table<T: Attribute>(core::marker::PhantomData<T>);

#[expect(clippy::missing_safety_doc, reason = "the duty stands at the type")]
impl<T: Attribute> Table<T> {
    const RAW: bindings::kobj_attribute = {
        // SAFETY: All fields are integers and pointers that may be null.
        let mut raw: bindings::kobj_attribute = unsafe { zeroed() };
        raw.attr.name = kernel::str::as_char_ptr_in_const_context(T::NAME);
        raw.attr.mode = if T::HAS_STORE { 0o644 } else { 0o444 };
        let raw_ptr = &raw mut raw;
        // SAFETY: The header says where the functions stand and of what type they are, those of the trampolines.
        unsafe {
            raw_ptr
                .byte_add(crate::bindings::klp_offset_of_show)
                .cast::<Option<Show>>()
                .write(Some(Self::show));
            if T::HAS_STORE {
                raw_ptr
                    .byte_add(crate::bindings::klp_offset_of_store)
                    .cast::<Option<Store>>()
                    .write(Some(Self::store));
            }
        }
        raw
    };

    unsafe extern "C" fn show(
        _kobj: *mut bindings::kobject,
        _attr: *mut bindings::kobj_attribute,
        buf: *mut c_char,
    ) -> isize {
        from_result(|| {
            let value = T::show()?;
            Ok(emit(buf, fmt!("{value}\n")))
        })
    }

    unsafe extern "C" fn store(
        _kobj: *mut bindings::kobject,
        _attr: *mut bindings::kobj_attribute,
        buf: *const c_char,
        count: usize,
    ) -> isize {
        from_result(|| {
            // SAFETY: sysfs passes `count` bytes that live as long as the call.
            let bytes = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), count) };
            let text = core::str::from_utf8(bytes).map_err(|_| EINVAL)?;
            T::store(text.strip_suffix('\n').unwrap_or(text))?;
            Ok(count as isize)
        })
    }
}

/// `sysfs_emit()`
fn emit(buf: *mut c_char, text: fmt::Arguments<'_>) -> isize {
    let text = core::ptr::from_ref(&text).cast::<c_void>();
    // SAFETY: The callers pass sysfs's page, as `sysfs_emit()` asks for, and `%pA` takes `fmt::Arguments`.
    let written = unsafe { bindings::sysfs_emit(buf, c"%pA".as_char_ptr(), text) };
    written as isize
}

/// A folder below `/sys/kernel`. Dropping it removes the folder with its files, after the last reader has left.
///
/// A livepatch lists it under `files` of [`livepatch!`](crate::livepatch!); the type is for other modules.
///
/// # Invariants
///
/// The kobject is alive and `self` owns a reference to it.
pub struct Folder(NonNull<bindings::kobject>);

// SAFETY: A kobject is counted and locked by itself; no function of it is tied to a task.
unsafe impl Send for Folder {}
// SAFETY: As for `Send`; shared access offers nothing.
unsafe impl Sync for Folder {}

impl Folder {
    /// Makes the folder `/sys/kernel/<name>`. Process context; may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; also for a name that is taken, which is all that the kernel's function tells.
    ///
    /// # Safety
    ///
    /// The folder must be dropped before the module is gone, whose functions the files lead to: keep it in the module's
    /// value, and never forget it.
    pub unsafe fn new(name: &CStr) -> Result<Self> {
        // SAFETY: The kernel sets `kernel_kobj` up before any module can be loaded.
        let kernel = unsafe { bindings::kernel_kobj };
        // SAFETY: The name is copied, and the parent is never freed.
        let kobj = unsafe { bindings::kobject_create_and_add(name.as_char_ptr(), kernel) };
        // INVARIANT: The reference comes with the creation.
        NonNull::new(kobj).map(Self).ok_or(ENOMEM)
    }

    /// Adds the file of `T`. Process context; may sleep.
    ///
    /// # Errors
    ///
    /// `EEXIST` for a second file of a name, `ENOMEM`; the folder is removed then.
    pub fn with<T: Attribute>(self) -> Result<Self> {
        let table: &'static bindings::kobj_attribute = &Table::<T>::RAW;
        // SAFETY: By the type invariant the kobject is alive. The attribute is the first field of `kobj_attribute`,
        // which is what the functions of a kobject of this kind cast it to, and lives as long as the module.
        to_result(unsafe {
            bindings::sysfs_create_file_ns(self.0.as_ptr(), &table.attr, core::ptr::null())
        })?;
        Ok(self)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the kobject is alive. After this no function of an attribute runs, although others
        // may still hold references.
        unsafe { bindings::kobject_del(self.0.as_ptr()) };
        // SAFETY: By the type invariant `self` owns a reference.
        unsafe { bindings::kobject_put(self.0.as_ptr()) };
    }
}

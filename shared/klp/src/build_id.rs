// SPDX-License-Identifier: GPL-2.0

//! The build id of the kernel that runs, by which a patch refuses every other.
//!
//! The loader compares `vermagic`, which is the release and a few words of the configuration, and, with
//! `CONFIG_MODVERSIONS`, not even the release. A kernel that was built again under one release passes, and is other code.
//! `vmlinux_build_id` is not exported; the notes that it is read from are a file of sysfs.
//!
//! C headers: [`include/linux/kernfs.h`](srctree/include/linux/kernfs.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use core::{
    ptr::null,
    slice, //
};

use kernel::{
    bindings,
    fmt,
    prelude::*, //
};

/// The build id of a kernel: the SHA-1 that its linker computed over it.
///
/// # Examples
///
/// ```ignore
/// impl klp::Livepatch for MyPatch {
///     fn init(_module: &'static ThisModule) -> Result<Self> {
///         const BUILT_FOR: klp::BuildId = klp::BuildId::new("1eeabb9495d1c8f00f0ea93e0fc50f51c3d38e32");
///         BUILT_FOR.require()?;
///         Ok(Self)
///     }
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BuildId([u8; Self::SIZE]);

impl BuildId {
    const SIZE: usize = 20;

    /// The id in 40 hexadecimal digits, as `readelf -n vmlinux` prints it; anything else does not compile in a `const`.
    pub const fn new(hex: &str) -> Self {
        let text = hex.as_bytes();
        assert!(text.len() == 2 * Self::SIZE, "a build id has 40 digits");
        let mut id = [0; Self::SIZE];
        let mut i = 0;
        while i < Self::SIZE {
            id[i] = digit(text[2 * i]) << 4 | digit(text[2 * i + 1]);
            i += 1;
        }
        Self(id)
    }

    /// The id in bytes.
    pub const fn from_bytes(id: [u8; Self::SIZE]) -> Self {
        Self(id)
    }

    /// The id of the kernel that runs; `None` if it was linked without one. Process context; may sleep.
    pub fn of_kernel() -> Option<Self> {
        // SAFETY: The kernel sets `kernel_kobj` up before any module can be loaded, and never frees it.
        let folder = unsafe { (*bindings::kernel_kobj).sd };
        // SAFETY: The folder is alive; a file of no namespace is looked for.
        let node =
            unsafe { bindings::kernfs_find_and_get_ns(folder, c"notes".as_char_ptr(), null()) };
        if node.is_null() {
            return None;
        }
        // SAFETY: ksysfs_init() made the file by sysfs_create_bin_file(), which keeps the attribute in `priv`, and nobody
        // removes it. `private` and `size` are where the kernel's notes begin and how long they are; both are read only.
        let notes = unsafe {
            let attr = (*node).priv_.cast::<bindings::bin_attribute>();
            slice::from_raw_parts((*attr).private.cast::<u8>(), (*attr).size)
        };
        // SAFETY: The reference is that of the search.
        unsafe { bindings::kernfs_put(node) };
        find(notes)
    }

    /// Refuses every kernel but the one of this id. For [`Livepatch::init`](crate::Livepatch::init). Process context; may
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ENOEXEC`, which `insmod` calls an invalid module format; the log names both ids.
    pub fn require(self) -> Result {
        match Self::of_kernel() {
            Some(running) if running == self => return Ok(()),
            Some(running) => pr_err!("built for the kernel {self}, and this is {running}\n"),
            None => pr_err!("built for the kernel {self}, and this one has no build id\n"),
        }
        Err(ENOEXEC)
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

const fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => panic!("a build id is written in the digits 0 to f"),
    }
}

/// The note of type `NT_GNU_BUILD_ID` among ELF notes, whose names and contents are each padded to four bytes.
fn find(mut notes: &[u8]) -> Option<BuildId> {
    const GNU_BUILD_ID: u32 = 3;
    let padded = |len: u32| (len as usize).next_multiple_of(4);
    loop {
        let word = |i: usize| {
            let bytes = notes.get(4 * i..4 * i + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let (name_len, len, kind) = (word(0)?, word(1)?, word(2)?);
        let (name, rest) = notes.get(12..)?.split_at_checked(padded(name_len))?;
        if kind == GNU_BUILD_ID && name == b"GNU\0" {
            return Some(BuildId(rest.get(..len as usize)?.try_into().ok()?));
        }
        notes = rest.get(padded(len)..)?;
    }
}

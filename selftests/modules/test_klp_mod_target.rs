// SPDX-License-Identifier: GPL-2.0

//! A target with one function to patch, in Rust: what `/proc/test_klp_mod_target` shows.
//!
//! A livepatch reaches the function through the entry that `klp::traceable!` puts in front of it.

use core::ptr::{
    null_mut,
    NonNull, //
};

use kernel::{
    bindings::seq_file,
    ffi::c_int,
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

klp::bindings!();

module! {
    type: Target,
    name: "test_klp_mod_target",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a target with a function to patch",
    license: "GPL",
}

klp::traceable! {
    unsafe extern "C" fn test_klp_mod_target_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: procfs passes a file that it owns for the duration of the call.
        let m = unsafe { SeqFile::from_raw(m) };
        seq_print!(m, "test_klp_mod_target: original output\n");
        0
    }
}

/// The file in `/proc`.
struct Target(NonNull<bindings::proc_dir_entry>);

// SAFETY: Nothing but `drop` uses the pointer.
unsafe impl Send for Target {}
// SAFETY: As for `Send`.
unsafe impl Sync for Target {}

impl kernel::Module for Target {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("test_klp_mod_target_init\n");
        let name = c"test_klp_mod_target".as_char_ptr();
        let show = Some(test_klp_mod_target_show as _);
        // SAFETY: The name is copied; the function lives until `drop` has removed the file.
        let file =
            unsafe { bindings::proc_create_single_data(name, 0, null_mut(), show, null_mut()) };
        NonNull::new(file).map(Self).ok_or(ENOMEM)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        pr_info!("test_klp_mod_target_exit\n");
        // SAFETY: `init` made the file, and it is removed this once, after the last reader has left.
        unsafe { bindings::proc_remove(self.0.as_ptr()) };
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Livepatch test: replacements that go on in the functions that they replace.

use kernel::{
    bindings::seq_file,
    ffi::{
        c_int,
        c_void, //
    },
    seq_file::SeqFile,
    seq_print, //
};

klp::livepatch! {
    name: "test_klp_original",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: call the function that is replaced",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                // SAFETY: The declaration is that of fs/proc/cmdline.c.
                unsafe fn cmdline_proc_show(*mut seq_file, *mut c_void) -> c_int as cmdline = show,
            ],
        },
        "rules_target" {
            functions: [
                // SAFETY: The declaration is that of rules_target.c; a positive answer is as good as 0 to its caller.
                unsafe fn rules_target_enter(unsafe extern "C" fn() -> c_int) -> c_int as sleep_there = enter,
            ],
        },
        "test_klp_original_target" {
            // SAFETY: Both declarations are those of test_klp_original_target.c.
            functions: [
                unsafe fn test_original_sum(u64, u64, u64, u64, u64, u64, u64, u64, u64) -> u64 as squares = one_more,
                unsafe fn test_original_big(u64) -> Numbers as numbers = negated,
            ],
        },
    ],
}

/// `struct test_original_numbers` of the target.
#[repr(C)]
struct Numbers([u64; 5]);

unsafe extern "C" fn show(m: *mut seq_file, v: *mut c_void) -> c_int {
    // SAFETY: The duty of this function.
    let ret = unsafe { cmdline(m, v) };
    // SAFETY: The callers of the old function pass a file that they own for the duration of the call.
    seq_print!(unsafe { SeqFile::from_raw(m) }, "and more\n");
    ret
}

unsafe extern "C" fn enter(wait: unsafe extern "C" fn() -> c_int) -> c_int {
    // SAFETY: The duty of this function.
    match unsafe { sleep_there(wait) } {
        0 => 33,
        error => error,
    }
}

#[allow(clippy::too_many_arguments, clippy::many_single_char_names)]
unsafe extern "C" fn one_more(
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
    g: u64,
    h: u64,
    i: u64,
) -> u64 {
    // SAFETY: The duty of this function.
    1 + unsafe { squares(a, b, c, d, e, f, g, h, i) }
}

unsafe extern "C" fn negated(first: u64) -> Numbers {
    // SAFETY: The duty of this function.
    let Numbers(numbers) = unsafe { numbers(first) };
    Numbers(numbers.map(|n| 100 - n))
}

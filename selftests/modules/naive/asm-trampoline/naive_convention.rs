// SPDX-License-Identifier: GPL-2.0

//! How it does not work: a redirect of a routine that takes a value where C passes none.
//!
//! `__clear_pages_unrolled()` writes what `rax` holds, and its caller, inline assembly, puts the number of bytes into `rcx`
//! (arch/x86/lib/clear_page_64.S). The replacement knows of neither. The kernel loads this without a word; `cargo xtask preflight`
//! says what is wrong. It is never loaded.

klp::livepatch! {
    name: "naive_convention",
    authors: ["The livepatch cookbook"],
    description: "Redirect a routine with a calling convention of its own",
    license: "GPL",
    objects: [
        vmlinux {
            redirects: [
                // SAFETY: None: no declaration in C tells what this routine takes.
                unsafe fn __clear_pages_unrolled(*mut u8) = clear,
            ],
        },
    ],
}

unsafe extern "C" fn clear(page: *mut u8) {
    // SAFETY: None: nobody says how much is to be cleared.
    unsafe { page.write_bytes(0, 4096) };
}

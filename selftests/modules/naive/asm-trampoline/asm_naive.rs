// SPDX-License-Identifier: GPL-2.0

//! How it does not work: assembly in the list of functions, which the kernel refuses.
//!
//! ```text
//! # insmod asm_target.ko
//! # insmod asm_naive.ko
//! insmod: ERROR: could not insert module asm_naive.ko: Invalid parameters
//! # dmesg
//! livepatch: failed to find location for function 'asm_target_checksum'
//! livepatch: failed to patch object 'asm_target'
//! ```
//!
//! For a Rust function, `asm_target_percent`, the answer is the same: rustc emits no call to `__fentry__` either.

// ANCHOR: naive
klp::livepatch! {
    name: "asm_naive",
    authors: ["The livepatch cookbook"],
    description: "List a function that ftrace cannot reach, and be refused",
    license: "GPL",
    objects: [
        "asm_target" {
            functions: [
                // SAFETY: Declared as in checksum.S.
                unsafe fn asm_target_checksum(*const u16, usize) -> u16 = checksum,
            ],
        },
    ],
}
// ANCHOR_END: naive

/// Never runs.
unsafe extern "C" fn checksum(_words: *const u16, _count: usize) -> u16 {
    0
}

// SPDX-License-Identifier: GPL-2.0

//! Livepatch test: what a redirect is compared with. Replaces the C function of `test_klp_redirect_target`, which does
//! the same as its routine in assembly, in the usual way.
//!
//! Not part of `test_klp_redirect`: when ftrace lets go of a patched function it waits for preempted tasks as well,
//! which would hide it when the redirect does not.

klp::livepatch! {
    name: "test_klp_redirect_cost",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: replace a function to compare a redirect with",
    license: "GPL",
    objects: [
        "test_klp_redirect_target" {
            functions: [
                // SAFETY: The declaration is that of the target.
                unsafe fn test_redirect_plain(u64, u64) -> u64 = difference,
            ],
        },
    ],
}

extern "C" fn difference(a: u64, b: u64) -> u64 {
    a.wrapping_sub(b)
}

// SPDX-License-Identifier: GPL-2.0

//! Names a function of which the kernel has several: many caches have an `init_once()`.

use kernel::prelude::*;

klp::livepatch! {
    name: "trouble_ambiguous_kernel",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: one of many functions of a name",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                // SAFETY: So the constructor of a slab cache is declared; it is not said of which, and none is replaced.
                unsafe fn init_once(*mut c_void) = nothing,
            ],
        },
    ],
}

unsafe extern "C" fn nothing(_object: *mut c_void) {}

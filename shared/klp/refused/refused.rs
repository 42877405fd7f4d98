// SPDX-License-Identifier: GPL-2.0

//! What must not compile, case by case, and what the compiler must say: see `check`.
//!
//! Each case is a `cfg` with the message in quotes in the line above.

#![allow(dead_code, unused_imports, unused_macros)]

use kernel::{
    ffi::c_int,
    prelude::*, //
};

extern "C" fn new() -> c_int {
    0
}

macro_rules! patch {
    ($($objects:tt)*) => {
        klp::livepatch! {
            name: "refused",
            license: "GPL",
            objects: [ $($objects)* ],
        }
    };
}

//~ "the kernel itself is `vmlinux` without quotes"
#[cfg(quoted_vmlinux)]
patch! { "vmlinux" {}, }

//~ "no module has such a name: letters, digits, and `_`"
#[cfg(dashes)]
patch! { "virtio-net" {}, }

//~ "a module's name in quotes: \"virtio_net\""
#[cfg(unquoted_module)]
patch! { virtio_net {}, }

//~ "`name` must be the name of the module"
#[cfg(wrong_name)]
klp::livepatch! {
    name: "refuse",
    license: "GPL",
    objects: [ vmlinux {} ],
}

//~ "livepatch!: expected, in this order"
#[cfg(wrong_order)]
klp::livepatch! {
    name: "refused",
    license: "GPL",
    objects: [ vmlinux {} ],
    replace: true,
}

//~ "livepatch!: object `vmlinux`: expected, in this order"
#[cfg(misspelt)]
patch! { vmlinux { function: [], }, }

//~ "each entry is `unsafe fn NAME(TYPES) -> TYPE = REPLACEMENT,`"
#[cfg(no_unsafe)]
patch! { vmlinux { functions: [ fn old() -> c_int = new, ], }, }

//~ "found fn item `extern \"C\" fn() -> _ {new}`"
#[cfg(another_signature)]
klp::livepatch! {
    name: "refused",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                unsafe fn old(u32) -> c_int = new,
            ],
        },
    ],
}

//~ "callers of this routine expect registers to survive"
#[cfg(own_convention)]
patch! { vmlinux { redirects: [ unsafe fn __sw_hweight32() -> c_int = new, ], }, }

//~ "the trait bound `Data: FixedLayout` is not satisfied"
#[cfg(any_layout)]
struct Data(u8, u32);
#[cfg(any_layout)]
klp::livepatch! {
    name: "refused",
    license: "GPL",
    states: [ static DATA: Data = { id: 1, version: 1 }, ],
    objects: [ vmlinux {} ],
}

//~ "the trait bound `&'static u32: FixedLayout` is not satisfied"
#[cfg(reference)]
klp::fixed_layout! {
    struct Data {
        number: &'static u32,
    }
}

//~ "the default is out of range"
#[cfg(out_of_range)]
klp::param! {
    static PARAM("param"): u32 in 1..=9 = 10, 0o444, "a number"
}

//~ "a parameter is read by a single access"
#[cfg(torn)]
const _: () = {
    #[derive(Clone, Copy)]
    struct Three([u8; 3]);
    // SAFETY: None: it does not keep the contract.
    unsafe impl klp::ParamValue for Three {
        const OPS: *const kernel::bindings::kernel_param_ops = core::ptr::null();
    }
    static PARAM: klp::Param<Three> = klp::Param::new(Three([0; 3]));
};

//~ "call to unsafe function `Folder::new`"
#[cfg(folder)]
fn forget() {
    core::mem::forget(klp::Folder::new(c"folder"));
}

// Not refused: "" stands for success.
//~ ""
#[cfg(function_only)]
patch! { vmlinux { functions: [ unsafe fn old() -> c_int = new, ], }, }

//~ ""
#[cfg(fine)]
patch! { vmlinux {}, "virtio_net" {}, }

#[cfg(fine)]
klp::param! {
    static BOOLS("bools"): [bool; 4], 0o444, "an array of bool"
}

// SPDX-License-Identifier: GPL-2.0

//! What must not compile, case by case, and what the compiler must say: see `check`.
//!
//! Each case is a `cfg` with the message in quotes in the line above. The message is about the line that ends in `HERE`;
//! where there is none, the compiler names no line of this file.

#![allow(dead_code, unused_imports, unused_macros)]

use kernel::{
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*, //
};

klp::bindings!();

extern "C" fn new() -> c_int {
    0
}

mod names {
    pub(crate) extern "C" fn valid(_name: *const kernel::ffi::c_char) -> bool {
        true
    }
}

//~ "the kernel itself is `vmlinux` without quotes"
#[cfg(quoted_vmlinux)]
klp::livepatch! { name: "refused", license: "GPL", objects: [ "vmlinux" {}, ], } // HERE

//~ "no module has such a name: letters, digits, and `_`"
#[cfg(dashes)]
klp::livepatch! { name: "refused", license: "GPL", objects: [ "virtio-net" {}, ], } // HERE

//~ "a module's name in quotes: \"virtio_net\""
#[cfg(unquoted_module)]
klp::livepatch! { name: "refused", license: "GPL", objects: [ virtio_net {}, ], } // HERE

//~ "`name` must be the name of the module"
#[cfg(wrong_name)]
klp::livepatch! { name: "refuse", license: "GPL", objects: [ vmlinux {}, ], } // HERE

//~ "livepatch!: expected, in this order"
#[cfg(wrong_order)]
klp::livepatch! { name: "refused", license: "GPL", objects: [ vmlinux {}, ], replace: true, } // HERE

//~ "livepatch!: object `vmlinux`: expected, in this order"
#[cfg(misspelt)]
klp::livepatch! { name: "refused", license: "GPL", objects: [ vmlinux { function: [], }, ], } // HERE

//~ "each entry is `fn NAME(TYPES) -> TYPE = REPLACEMENT,`, with `unsafe` before `fn`"
#[cfg(no_fn)]
klp::livepatch! { name: "refused", license: "GPL", objects: [ vmlinux { functions: [ old => new, ], }, ], } // HERE

//~ "cannot find value `old` in module `bindings`"
#[cfg(static_function)]
klp::livepatch! {
    name: "refused",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                unsafe fn first() -> c_int = new,
                fn old() -> c_int = new, // HERE
            ],
        },
    ],
}

//~ "no header declares `\"a.part.0\"`: begin the entry with `unsafe`"
#[cfg(no_identifier)]
klp::livepatch! { name: "refused", license: "GPL", objects: [ vmlinux { functions: [ fn "a.part.0"() -> c_int = new, ], }, ], } // HERE

//~ "found fn item `unsafe extern "C" fn(_) -> bool {bindings::dev_valid_name}`"
#[cfg(wrong_prototype)]
klp::livepatch! {
    name: "refused",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                unsafe fn first() -> c_int = new,
                fn dev_valid_name(*const c_char) -> c_int // HERE
                    = new,
            ],
        },
    ],
}

//~ "found fn item `extern "C" fn() -> _ {new}`"
#[cfg(another_signature)]
klp::livepatch! {
    name: "refused",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                unsafe fn first() -> c_int = new,
                unsafe fn old(u32) -> c_int
                    = new, // HERE
            ],
        },
    ],
}

//~ "found fn item `extern "C" fn(*const u8) -> _ {valid}`"
#[cfg(another_signature_redirected)]
klp::livepatch! {
    name: "refused",
    license: "GPL",
    objects: [
        vmlinux {
            redirects: [
                unsafe fn old(u32) -> bool
                    = names::valid // HERE
                    where true,
            ],
        },
    ],
}

//~ "callers of this routine expect registers to survive"
#[cfg(own_convention)]
klp::livepatch! { name: "refused", license: "GPL", objects: [ vmlinux { redirects: [ unsafe fn __sw_hweight32() -> c_int = new, ], }, ], } // HERE

//~ "`change` is for `vmlinux`"
#[cfg(change_of_a_module)]
klp::livepatch! { name: "refused", license: "GPL", objects: [ "virtio_net" { change: LIMITS, }, ], } // HERE

//~ "the trait bound `(): SystemChange` is not satisfied"
#[cfg(no_change)]
klp::livepatch! { // HERE
    name: "refused",
    license: "GPL",
    states: [ static LIMITS: () = { id: 1, version: 1 }, ],
    objects: [ vmlinux { change: LIMITS, }, ],
}

//~ "the state has another id, or another version, than its data is meant for"
#[cfg(another_version)]
klp::fixed_layout! {
    struct Data(u32);
}
// SAFETY: None: it does not run.
#[cfg(another_version)]
unsafe impl klp::StateData for Data {
    const ID: usize = 1;
    const VERSIONS: core::ops::RangeInclusive<u32> = 2..=3;
}
#[cfg(another_version)]
impl klp::SystemChange for Data {
    fn save(_before: Option<u32>) -> impl PinInit<Self, Error> {
        Ok(Self(0))
    }
    fn apply(&self) {}
    fn revert(&self) {}
}
#[cfg(another_version)]
klp::livepatch! { // HERE
    name: "refused",
    license: "GPL",
    states: [ static LIMITS: Data = { id: 1, version: 4 }, ],
    objects: [ vmlinux { change: LIMITS, }, ],
}

//~ "the trait bound `Data: FixedLayout` is not satisfied"
#[cfg(any_layout)]
struct Data(u8, u32);
#[cfg(any_layout)]
klp::livepatch! { // HERE
    name: "refused",
    license: "GPL",
    states: [ static DATA: Data = { id: 1, version: 1 }, ],
    objects: [ vmlinux {} ],
}

//~ "the trait bound `&'static u32: FixedLayout` is not satisfied"
#[cfg(reference)]
klp::fixed_layout! { // HERE
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
    core::mem::forget(klp::Folder::new(c"folder")); // HERE
}

// Not refused: "" stands for success.
//~ ""
#[cfg(function_only)]
klp::livepatch! {
    name: "refused",
    license: "GPL",
    objects: [ vmlinux { functions: [ fn dev_valid_name(*const c_char) -> bool = names::valid, unsafe fn old() -> c_int = { new }, ], }, ],
}

//~ ""
#[cfg(fine)]
klp::livepatch! {
    name: "refused",
    license: "GPL",
    objects: [ vmlinux { redirects: [ fn dev_valid_name(*const c_char) -> bool = names::valid where false, ], }, "virtio_net" {}, ],
}

#[cfg(fine)]
klp::param! {
    static BOOLS("bools"): [bool; 4], 0o444, "an array of bool"
}

// SPDX-License-Identifier: GPL-2.0

//! The target of `asm_trampoline`: a module whose mistakes are in code that ftrace cannot reach.
//!
//! `/sys/kernel/debug/asm_target/checksum` shows what the assembly routine in `checksum.S` makes of a packet's header,
//! `percent` what the Rust function below makes of 3 out of 4.
//!
//! Good enough for a demonstration only: in Linux 7.2 a file of `kernel::debugfs` does not hold its module (its operations
//! have no owner), and whoever closes one whose module is gone runs into freed memory. The soak test met it.

use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    prelude::*, //
};

module! {
    type: AsmTarget,
    name: "asm_target",
    authors: ["The livepatch cookbook"],
    description: "A checksum in assembly and a percentage in Rust, both wrong",
    license: "GPL",
}

/// The words of an IPv4 header, the field for the checksum zero. 0xb861 is right.
const HEADER: [u16; 10] = [
    0x4500, 0x0073, 0x0000, 0x4000, 0x4011, 0x0000, 0xc0a8, 0x0001, 0xc0a8, 0x00c7,
];

extern "C" {
    fn asm_target_checksum(words: *const u16, count: usize) -> u16;
}

// ANCHOR: percent
/// How much of `total` is `used`. Wrong: what an integer division cuts off is not there to be multiplied.
#[no_mangle]
#[inline(never)]
pub extern "C" fn asm_target_percent(used: u32, total: u32) -> u32 {
    used.checked_div(total).unwrap_or(0) * 100
}
// ANCHOR_END: percent

#[pin_data]
struct AsmTarget {
    #[pin]
    checksum: File<()>,
    #[pin]
    percent: File<()>,
    dir: Dir,
}

impl kernel::InPlaceModule for AsmTarget {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let dir = Dir::new(c"asm_target");
        try_pin_init!(Self {
            checksum <- dir.read_callback_file(c"checksum", (), &|_, f| {
                // SAFETY: The routine reads as many words as it is told.
                let sum = unsafe { asm_target_checksum(HEADER.as_ptr(), HEADER.len()) };
                writeln!(f, "{sum:#06x}")
            }),
            percent <- dir.read_callback_file(c"percent", (), &|_, f| {
                // The compiler must not know the arguments, nor work out the result by itself.
                let (used, total) = core::hint::black_box((3, 4));
                writeln!(f, "{}", asm_target_percent(used, total))
            }),
            dir,
        }? Error)
    }
}

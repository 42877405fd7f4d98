// SPDX-License-Identifier: GPL-2.0

//! The target of `asm_trampoline`: a module whose mistakes are in code that ftrace cannot reach.
//!
//! `/sys/kernel/asm_target/checksum` shows what the assembly routine in `checksum.S` makes of a packet's header,
//! `percent` what the Rust function below makes of 3 out of 4.

use kernel::{
    fmt,
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

struct Checksum;

struct Hex(u16);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

#[vtable]
impl klp::Attribute for Checksum {
    const NAME: &'static CStr = c"checksum";

    fn show() -> Result<impl fmt::Display> {
        // SAFETY: The routine reads as many words as it is told.
        let sum = unsafe { asm_target_checksum(HEADER.as_ptr(), HEADER.len()) };
        Ok(Hex(sum))
    }
}

struct Percent;

#[vtable]
impl klp::Attribute for Percent {
    const NAME: &'static CStr = c"percent";

    fn show() -> Result<impl fmt::Display> {
        // The compiler must not know the arguments, nor work out the result by itself.
        let (used, total) = core::hint::black_box((3, 4));
        Ok(asm_target_percent(used, total))
    }
}

struct AsmTarget {
    _files: klp::Folder,
}

impl kernel::Module for AsmTarget {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: The module's value, which its exit drops, owns the folder.
        let files = unsafe { klp::Folder::new(c"asm_target") }?;
        Ok(Self {
            _files: files.with::<Checksum>()?.with::<Percent>()?,
        })
    }
}

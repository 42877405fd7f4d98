// SPDX-License-Identifier: GPL-2.0

//! Loads on the kernel whose build id its parameter names, and on no other.

use kernel::prelude::*;

klp::param! {
    static ID("id"): [i32; 20], 0, "the build id, byte by byte"
}

klp::livepatch! {
    type: Bound,
    name: "claims_build_id",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: for one build of the kernel",
    license: "GPL",
    objects: [
        vmlinux {},
    ],
}

struct Bound;

impl klp::Livepatch for Bound {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let mut id = [0; 20];
        for (byte, value) in id.iter_mut().zip(ID.iter()) {
            *byte = value as u8;
        }
        klp::BuildId::from_bytes(id).require()?;
        Ok(Self)
    }
}

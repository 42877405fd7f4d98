// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is present, which version, and what will be made when it is needed.

use std::fs;

use anyhow::Result;

use crate::cli::KernelArgs;
use crate::host;
use crate::kernel::Kernel;
use crate::paths;
use crate::progress;

/// What says most about what the build root makes.
const TOOLS: [&str; 7] = [
    "rustc",
    "bindgen",
    "gcc-14",
    "clang-19",
    "qemu-system-x86_64",
    "vng",
    "mdbook",
];

/// `cargo xtask doctor`.
pub fn run(args: &KernelArgs) -> Result<()> {
    let cache = paths::cache()?;
    for tool in TOOLS {
        let text = host::version_text(tool)
            .unwrap_or_else(|_| "- (scripts/setup puts it into the build root)".to_owned());
        println!("{tool:<20} {text}");
    }
    let kvm = match fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        Ok(_) => "opens; used once a guest was seen to boot with it".to_owned(),
        Err(error) => format!("{error}: guests run under QEMU's translator, which is slower"),
    };
    println!("{:<20} {kvm}", "/dev/kvm");
    let free = progress::size(host::free_space(&cache)?);
    println!("{:<20} {}, {free} free", "cache", cache.display());
    let kernel = match Kernel::resolve(args) {
        Ok(kernel) => format!("{}  {}", kernel.release, kernel.build.display()),
        Err(error) => format!("- ({error:#})"),
    };
    println!("{:<20} {kernel}", "kernel");
    Ok(())
}

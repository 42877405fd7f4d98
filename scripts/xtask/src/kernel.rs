// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel that modules are built for and run on.

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::KernelArgs;
use crate::error;

/// A built kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The build directory: `.config`, `vmlinux`, `arch/x86/boot/bzImage`, `scripts/target.json`.
    pub build: PathBuf,
    /// The source tree; the same folder for a tree that was built in place.
    pub source: PathBuf,
    /// Names this kernel among all; the folder below `target/kbuild/`.
    pub key: String,
    /// What `uname -r` says on it.
    pub release: String,
}

impl Kernel {
    /// The kernel that the command line chose, if it is built; nothing slow.
    pub fn resolve(_args: &KernelArgs) -> Result<Kernel> {
        Err(error::host("no kernel is built: run cargo xtask kernel"))
    }

    /// The same, built first where that is missing.
    pub fn ensure(args: &KernelArgs) -> Result<Kernel> {
        Kernel::resolve(args)
    }

    /// The image to boot.
    pub fn image(&self) -> PathBuf {
        self.build.join("arch/x86/boot/bzImage")
    }

    /// The image with symbols.
    pub fn vmlinux(&self) -> PathBuf {
        self.build.join("vmlinux")
    }
}

/// `cargo xtask kernel`.
pub fn run(args: &KernelArgs) -> Result<()> {
    Kernel::ensure(args).map(drop)
}

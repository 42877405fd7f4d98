// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Modules, through Kbuild.

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::KernelArgs;
use crate::error;
use crate::kernel::Kernel;

/// Where every `.ko` for `kernel` ends up (`KLP_MODULES_DIR` of the selftests).
pub fn modules_dir(kernel: &Kernel) -> PathBuf {
    crate::paths::kbuild().join(&kernel.key).join("modules")
}

/// Build the named module folders, all for no name; the answer is [`modules_dir`].
pub fn build(_kernel: &Kernel, _names: &[String]) -> Result<PathBuf> {
    Err(error::host("building modules: not there yet"))
}

/// `cargo xtask build`.
pub fn run(args: &KernelArgs, names: &[String]) -> Result<()> {
    build(&Kernel::ensure(args)?, names).map(drop)
}

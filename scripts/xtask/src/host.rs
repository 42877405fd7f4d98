// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What this tool finds around it: the build root, in which it runs and which holds everything that `scripts/packages`
//! lists, and the machine below.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::error;
use crate::process;

/// The source of `core`, from which the kernel builds its own.
pub const RUST_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library";

/// LLVM's version in the build root, as its commands have it behind their names and `make LLVM=` takes it.
pub const LLVM: &str = "-19";

/// This tool runs in the build root, or says how to get there.
pub fn check() -> Result<()> {
    // It lists what the build root holds; there is none elsewhere.
    if Path::new("/etc/livepatch-cookbook").is_file() {
        return Ok(());
    }
    Err(error::host(
        "this runs in the build root: use scripts/enter cargo xtask, after scripts/setup",
    ))
}

/// The first line of what `program --version` says.
pub fn version_text(program: impl AsRef<OsStr>) -> Result<String> {
    let text = process::capture(Command::new(program).arg("--version"))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Bytes that are free for us on the file system of `path`, which need not exist yet.
pub fn free_space(path: &Path) -> Result<u64> {
    let existing = path.ancestors().find(|p| p.exists()).unwrap_or(path);
    let stat = nix::sys::statvfs::statvfs(existing)
        .with_context(|| format!("asking for the free space of {}", existing.display()))?;
    Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

/// How many jobs to run at once.
pub fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

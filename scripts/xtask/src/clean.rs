// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Remove what this tool created, and nothing else: its cache folder, and below `target/` the
//! folders that cargo itself does not know.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::lock::lock;
use crate::paths;
use crate::process;
use crate::progress;

/// What is in the cache folder by our doing; the build root, in which this runs, is for `scripts/setup --remove`.
const IN_CACHE: [&str; 5] = ["kernel", "source", "tmp", "kvm.json", "lock"];

/// `cargo xtask clean`.
pub fn run() -> Result<()> {
    let cache = paths::cache()?;
    // Whoever builds a kernel right now is left to it.
    let lock = cache
        .is_dir()
        .then(|| lock(&cache.join("lock"), "prepares the kernel"))
        .transpose()?;
    let mut total = 0;
    let ours = IN_CACHE.iter().map(|name| cache.join(name));
    let built = ["kbuild", "kernel-side"].map(|name| paths::target().join(name));
    let project = paths::root().join("rust-project.json");
    for path in ours.chain(built).chain([project]) {
        total += remove(&path)?;
    }
    drop(lock);
    // Something that is not ours keeps the folder.
    if cache.is_dir() && fs::remove_dir(&cache).is_err() {
        println!(
            "kept: {} (the build root; scripts/setup --remove)",
            cache.display()
        );
    }
    println!("{} freed", progress::size(total));
    Ok(())
}

/// Remove a file or folder, and say how large it was.
fn remove(path: &PathBuf) -> Result<u64> {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Ok(0);
    };
    let said = process::capture(Command::new("du").args(["-s", "-B1"]).arg(path))?;
    let size = said.split_whitespace().next();
    let size = size.and_then(|size| size.parse().ok()).unwrap_or(0);
    let removed = if meta.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.with_context(|| format!("removing {}", path.display()))?;
    println!("removed {:>10}  {}", progress::size(size), path.display());
    Ok(size)
}

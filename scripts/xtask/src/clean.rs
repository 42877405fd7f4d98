// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Remove what this tool created, and nothing else: its cache folder, and below `target/` the
//! folders that cargo itself does not know.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

use crate::lock::lock;
use crate::paths;
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
    let size = size_of(path, &mut HashSet::new());
    let removed = if meta.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.with_context(|| format!("removing {}", path.display()))?;
    println!("removed {:>10}  {}", progress::size(size), path.display());
    Ok(size)
}

/// What a file or folder takes on its disk; a file with several names counts once.
fn size_of(path: &Path, seen: &mut HashSet<(u64, u64)>) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !seen.insert((meta.dev(), meta.ino())) {
        return 0;
    }
    let below: u64 = if meta.is_dir() {
        fs::read_dir(path)
            .map(|entries| {
                entries
                    .filter_map(Result::ok)
                    .map(|entry| size_of(&entry.path(), seen))
                    .sum()
            })
            .unwrap_or(0)
    } else {
        0
    };
    meta.blocks() * 512 + below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_no_links_and_count_files_once() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        fs::create_dir(&sub).unwrap();
        fs::write(sub.join("a"), vec![1; 100_000]).unwrap();
        fs::hard_link(sub.join("a"), sub.join("b")).unwrap();
        std::os::unix::fs::symlink("/usr", sub.join("c")).unwrap();
        let size = size_of(&sub, &mut HashSet::new());
        assert!((100_000..200_000).contains(&size), "{size}");
        remove(&sub).unwrap();
        assert!(!sub.exists());
        assert_eq!(remove(&sub).unwrap(), 0);
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where things are: the checkout, its `target/`, and the user's cache folder.

use std::env;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use fs_err as fs;

use crate::error;

/// The checkout that this tool was built from.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().skip(2).take(1).collect()
}

/// Cargo's output folder of this checkout.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The cache folder: `$XDG_CACHE_HOME`, which is ignored where it is relative, or `~/.cache`, then our name.
pub fn cache() -> Result<PathBuf> {
    let from = |variable| env::var_os(variable).map(PathBuf::from);
    from("XDG_CACHE_HOME")
        .filter(|dir| dir.is_absolute())
        .or_else(|| from("HOME").map(|home| home.join(".cache")))
        .map(|dir| dir.join("livepatch-cookbook"))
        .ok_or_else(|| error::host("neither XDG_CACHE_HOME nor HOME is set: set one of them"))
}

/// Write a file so that it is either whole or not there.
pub fn write_whole(file: &Path, text: &str) -> Result<()> {
    let aside = file.with_extension(format!("new-{}", std::process::id()));
    fs::write(&aside, text)?;
    Ok(fs::rename(&aside, file)?)
}

/// A file as text, whatever its bytes; empty when it cannot be read.
pub fn read_lossy(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Is it a file with this extension?
pub fn ends_in(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|end| end == extension)
}

/// The files in `folder` with this extension, in the order of their names.
pub fn files_in(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        found.extend(ends_in(&path, extension).then_some(path));
    }
    found.sort();
    Ok(found)
}

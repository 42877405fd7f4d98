// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where things are: the checkout, its `target/`, and the user's cache folder.

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

use crate::error;

/// The folder's name below the user's cache.
const CACHE_NAME: &str = "livepatch-cookbook";

/// The checkout that this tool was built from.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .ancestors()
        .nth(2)
        .unwrap_or(manifest)
        .to_path_buf()
}

/// Cargo's output folder of this checkout.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Everything that Kbuild makes of this checkout, one folder for each kernel.
pub fn kbuild() -> PathBuf {
    target().join("kbuild")
}

/// The cache folder: `$XDG_CACHE_HOME` or `~/.cache`, then our name.
pub fn cache() -> Result<PathBuf> {
    cache_from(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"))
        .ok_or_else(|| error::host("neither XDG_CACHE_HOME nor HOME is set: set one of them"))
}

fn cache_from(
    xdg: Option<std::ffi::OsString>,
    home: Option<std::ffi::OsString>,
) -> Option<PathBuf> {
    // The base directory specification: a relative XDG_CACHE_HOME is to be ignored.
    xdg.map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| {
            home.map(PathBuf::from)
                .filter(|dir| dir.is_absolute())
                .map(|dir| dir.join(".cache"))
        })
        .map(|dir| dir.join(CACHE_NAME))
}

/// Write a file so that it is either whole or not there.
pub fn write_whole(file: &Path, text: &str) -> Result<()> {
    let aside = file.with_extension(format!("new-{}", std::process::id()));
    fs::write(&aside, text)
        .and_then(|()| fs::rename(&aside, file))
        .with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_follows_the_base_directory_rules() {
        let from =
            |x: Option<&str>, h: Option<&str>| cache_from(x.map(Into::into), h.map(Into::into));
        assert_eq!(
            from(Some("/x"), Some("/h")).unwrap(),
            Path::new("/x/livepatch-cookbook")
        );
        assert_eq!(
            from(Some("relative"), Some("/h")).unwrap(),
            Path::new("/h/.cache/livepatch-cookbook")
        );
        assert_eq!(from(None, None), None);
    }
}

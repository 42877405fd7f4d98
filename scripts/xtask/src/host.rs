// SPDX-License-Identifier: GPL-2.0 OR MIT

//! This machine: its distribution, its tools and their versions.

use std::env;
use std::path::PathBuf;

/// The first executable called `name` on PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| {
            nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok() && file.is_file()
        })
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel's source: that of Debian's image, or a tarball or tree that the user names.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;

use super::digest;
use super::scratch;
use super::stock;
use crate::error;
use crate::oops::pattern;
use crate::paths;
use crate::process;
use crate::progress::Progress;
use crate::progress::Unit;

/// What an unpacked source takes beside its archive: seen 1.8 GiB, and some room.
pub const SPACE: u64 = 5 << 29;

/// About how many files it has, for the bar.
const FILES: u64 = 101_000;

/// A source, unpacked or a tarball still.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is, or will be when it is unpacked.
    pub dir: PathBuf,
    /// What tells it from every other source.
    pub identity: String,
    /// The tarball to unpack first.
    tarball: Option<PathBuf>,
}

impl Source {
    /// The source that the user named, or that of Debian's image; `None` for no source yet.
    pub fn known(named: Option<&Path>) -> Result<Option<Source>> {
        match named {
            Some(named) => Source::named(named).map(Some),
            None => Ok(stock::fetched(None)?.map(|(_, dir)| Source::of_image(dir))),
        }
    }

    fn unpacked(&self) -> bool {
        self.dir.join("Makefile").is_file()
    }

    fn named(named: &Path) -> Result<Source> {
        let path = named.canonicalize().map_err(|e| {
            error::usage(format!(
                "--kernel-source {}: {e}; name a kernel's source tree or tarball",
                named.display()
            ))
        })?;
        if path.is_dir() {
            check_tree(&path, named)?;
            return Ok(Source {
                identity: path.to_string_lossy().into_owned(),
                dir: path,
                tarball: None,
            });
        }
        let meta = fs::metadata(&path)?;
        let identity = format!("{} {} {}", path.display(), meta.len(), meta.mtime());
        Ok(Source {
            dir: folder(&format!("tarball-{}", digest(&[&identity])))?,
            identity,
            tarball: Some(path),
        })
    }

    pub fn of_image(dir: PathBuf) -> Source {
        let name = dir.file_name().unwrap_or_default();
        Source {
            identity: name.to_string_lossy().into_owned(),
            dir,
            tarball: None,
        }
    }
}

/// Is this the source of a kernel that can be configured elsewhere (`O=`)? `named` is what the user called it.
fn check_tree(dir: &Path, named: &Path) -> Result<()> {
    let bad = |what: &str| error::usage(format!("--kernel-source {}: {what}", named.display()));
    if tree_version(dir).is_none() || !dir.join("kernel/livepatch").is_dir() {
        return Err(bad(
            "this is not the source of a Linux kernel; name its top folder",
        ));
    }
    if !dir.join("rust/kernel").is_dir() {
        return Err(bad("this kernel has no Rust; take Linux 7.2 or newer"));
    }
    if dir.join(".config").exists() || dir.join("include/config").exists() {
        return Err(bad(
            "a kernel was configured in this tree; name it with --kernel, or run `make mrproper` in it first",
        ));
    }
    Ok(())
}

/// The version that a tree's Makefile declares.
pub fn tree_version(dir: &Path) -> Option<String> {
    makefile_version(&fs::read_to_string(dir.join("Makefile")).ok()?)
}

fn makefile_version(makefile: &str) -> Option<String> {
    let numbers =
        r"(?m)^VERSION = (\d+)\nPATCHLEVEL = (\d+)\nSUBLEVEL = (\d+)\nEXTRAVERSION = *(\S*)$";
    let found = pattern(numbers).captures(makefile)?;
    let [version, patchlevel, sublevel, extra] = found.extract().1;
    Some(format!("{version}.{patchlevel}.{sublevel}{extra}"))
}

/// Unpack the tarball that a source still is.
pub fn fetch(source: &Source) -> Result<()> {
    let Some(tarball) = source.tarball.as_ref().filter(|_| !source.unpacked()) else {
        return Ok(());
    };
    super::need_space(SPACE + super::BUILD_SPACE)?;
    let mut command = Command::new("tar");
    command.arg("-xvf").arg(tarball);
    unpack(command, &source.dir)
        .with_context(|| format!("--kernel-source {}", tarball.display()))?;
    check_tree(&source.dir, tarball).or_else(|error| {
        fs::remove_dir_all(&source.dir)?;
        Err(error)
    })
}

/// Where a source is unpacked, for every kernel that is built from it. `~` and `+` of Debian's versions are not for make.
pub fn folder(name: &str) -> Result<PathBuf> {
    let name = name.replace(['~', '+', ':'], "-");
    Ok(paths::cache()?.join("source").join(name))
}

/// Unpack Debian's package of a kernel's source.
pub fn unpack_package(deb: &Path, dir: &Path) -> Result<()> {
    let mut command = Command::new("bash");
    command
        .args([
            "-c",
            r#"set -euo pipefail; dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards "./usr/src/linux-source-*.tar.xz" | tar -xJv"#,
            "unpack",
        ])
        .arg(deb);
    unpack(command, dir)
}

/// Run `command`, which unpacks one folder where it is started, and put that folder at `dir`.
fn unpack(mut command: Command, dir: &Path) -> Result<()> {
    let scratch = tempfile::tempdir_in(scratch()?).context("creating a folder to unpack in")?;
    let log = scratch.path().with_extension("log");
    let mut progress = Progress::new("unpack the source", Unit::Files, FILES, 0);
    let mut complaint = String::new();
    let status = process::logged(command.current_dir(scratch.path()), &log, |line| {
        progress.step();
        // The first complaint says why; with it come those of whoever stands behind in the pipe.
        let mut complains = ["tar: ", "xz: ", "dpkg-deb: "].iter();
        if complaint.is_empty() && complains.any(|who| line.starts_with(who)) {
            complaint = line.to_owned();
        }
    })?;
    if !status.success() {
        return Err(error::usage(format!(
            "this cannot be unpacked: {complaint}"
        )));
    }
    progress.finish();
    // A tarball has one folder at its top.
    let tops = fs::read_dir(scratch.path())?.collect::<Result<Vec<_>, _>>()?;
    let [top] = &tops[..] else {
        anyhow::bail!(error::usage("it does not hold exactly one folder"));
    };
    fs::create_dir_all(dir.parent().unwrap_or(dir))?;
    Ok(fs::rename(top.path(), dir)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_the_makefile() {
        let text = "# SPDX\nVERSION = 7\nPATCHLEVEL = 2\nSUBLEVEL = 12\nEXTRAVERSION =\nNAME = X\n";
        assert_eq!(makefile_version(text).as_deref(), Some("7.2.12"));
        let text = "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 0\nEXTRAVERSION = -rc1\n";
        assert_eq!(makefile_version(text).as_deref(), Some("7.3.0-rc1"));
        assert_eq!(makefile_version("all:\n\ttrue\n"), None);
    }

    #[test]
    fn a_folder_that_is_no_kernel_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Source::named(dir.path()).unwrap_err();
        assert_eq!(error::code(&error), 2);
    }
}

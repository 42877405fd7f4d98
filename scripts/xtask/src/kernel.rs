// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel that modules are built for and run on.
//!
//! Stages, each finished or not there: the source (`source/<name>`, renamed into place when whole), and below
//! `kernel/<key>` the configuration and the build, whose stamp is written last. A run that was interrupted goes on where
//! it stopped; a lock lets the second of two runs wait.

mod apt;
pub mod own;
mod source;
mod stock;
pub mod tree;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

use crate::cli::Choice;
use crate::cli::KernelArgs;
use crate::error;
use crate::error::Failure;
use crate::lock::lock;
use crate::lock::Lock;
use crate::paths;
use crate::process;
use crate::progress;
use crate::progress::Progress;
use crate::queue;
pub use source::tree_version as source_version;
pub use stock::numbers;
pub use stock::tested;

/// What `make` is told where it does not build for x86-64.
const ARM64: &str = "ARCH=arm64";

/// What building takes, beside the source: seen 1.2 GiB, and some room.
const BUILD_SPACE: u64 = 3 << 29;

/// A built kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The build directory: `.config`, `Module.symvers`, `scripts/target.json`.
    pub build: PathBuf,
    /// The source tree; the same folder for a tree that was built in place.
    pub source: PathBuf,
    /// Names this kernel among all; the folder below `target/kbuild/`.
    pub key: String,
    /// What `uname -r` says on it.
    pub release: String,
    /// The image to boot.
    pub image: PathBuf,
    /// What `make` must be told of the compiler.
    make_args: Vec<String>,
}

impl Kernel {
    /// The kernel that the command line chose, if it is there; nothing slow.
    pub fn resolve(args: &KernelArgs) -> Result<Kernel> {
        let kernel = match args.choice() {
            Choice::Dir(dir) => return tree::check(&dir),
            Choice::Image(release) => stock::prepared(release.as_deref())?,
            Choice::Own(name) => own::prepared(args, &name)?,
        };
        kernel.ok_or_else(|| {
            error::host("this kernel is not prepared yet: `cargo xtask kernel` with the same options does it")
        })
    }

    /// The same, built first where that is missing.
    pub fn ensure(args: &KernelArgs) -> Result<Kernel> {
        match args.choice() {
            Choice::Dir(dir) => tree::check(&dir),
            Choice::Image(release) => stock::ensure(release.as_deref()),
            Choice::Own(name) => own::ensure(args, &name),
        }
    }

    /// Where the kernel's own modules are.
    pub fn modules(&self) -> &Path {
        match self.image.starts_with(&self.build) {
            true => &self.build,
            false => self.image.parent().unwrap_or(&self.build),
        }
    }

    /// Whether `CONFIG_<option>` is neither built in nor a module.
    pub fn is_without(&self, option: &str) -> bool {
        let config = paths::read_lossy(&self.build.join(".config"));
        !config.contains(&format!("\nCONFIG_{option}="))
    }

    /// Whether it runs on arm64, and not on x86-64.
    pub fn is_arm64(&self) -> bool {
        self.make_args.iter().any(|arg| arg == ARM64)
    }

    /// The folder that keeps what this very build tells of itself.
    pub fn facts(&self) -> Result<PathBuf> {
        let image = fs::metadata(&self.image)?;
        let build = format!("{} {}", image.len(), image.mtime());
        let facts = paths::cache()?.join("facts").join(&self.key);
        Ok(facts.join(digest(&[&build])))
    }

    /// What `make` in a module's own folder is to be told.
    pub fn words_of_make(&self) -> Vec<String> {
        let folder = format!("KDIR={}", self.build.display());
        [vec![folder], self.make_args.clone()].concat()
    }

    /// `make` in the build directory with the toolchain that this kernel needs.
    pub fn make(&self) -> Command {
        make(&self.build, None, &self.make_args)
    }

    /// The same for another program to start, a word a line.
    pub fn make_line(&self) -> String {
        let make = self.make();
        let unset = make.get_envs().filter(|(_, value)| value.is_none());
        let unset = unset.map(|(name, _)| format!("--unset={}\n", name.to_string_lossy()));
        let words = make
            .get_args()
            .map(|word| format!("\n{}", word.to_string_lossy()));
        format!(
            "env\n{}make{}",
            unset.collect::<String>(),
            words.collect::<String>()
        )
    }
}

/// What a build directory has to boot.
fn image(build: &Path, make_args: &[String]) -> PathBuf {
    build.join(match make_args.iter().any(|arg| arg == ARM64) {
        true => "arch/arm64/boot/Image",
        false => "arch/x86/boot/bzImage",
    })
}

/// What the build root's rustc says of itself.
fn rustc_version() -> Result<String> {
    let text = process::capture(Command::new("rustc").arg("--version"))?;
    Ok(text.trim().to_owned())
}

/// `make` for a kernel; `source` is needed only before the build directory has its own Makefile.
fn make(build: &Path, source: Option<&Path>, args: &[String]) -> Command {
    let mut command = Command::new("make");
    match source {
        Some(source) => command
            .arg("-C")
            .arg(source)
            .arg(format!("O={}", build.display())),
        None => command.arg("-C").arg(build),
    };
    command
        .args(args)
        .arg(format!("-j{}", queue::workers()))
        // A make above us must not hand down its flags, nor the user's choice of kernel its own.
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS")
        .env_remove("KDIR")
        // Cargo's, when it runs us: rustc has libraries of its own.
        .env_remove("LD_LIBRARY_PATH")
        .env("LC_ALL", "C");
    command
}

/// A short name for everything in `parts`.
fn digest(parts: &[&str]) -> String {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize()
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// `cargo xtask kernel`.
pub fn run(args: &KernelArgs, only_make: bool) -> Result<()> {
    let kernel = Kernel::ensure(args)?;
    let words = kernel.words_of_make().join(" ");
    if only_make {
        println!("{words}");
        return Ok(());
    }
    println!("kernel {}: {}", kernel.release, kernel.build.display());
    println!("modules: make {words}");
    Ok(())
}

/// Did something of ours, a log for instance, or of the kernel's build find the disk full?
fn is_out_of_space(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.raw_os_error() == Some(Errno::ENOSPC as i32))
}

/// Prepare a kernel in the cache folder; an error that is a full disk's says so, and what to do.
fn with_space<T>(prepare: impl FnOnce() -> Result<T>) -> Result<T> {
    let cache = paths::cache()?;
    fs::create_dir_all(&cache).map_err(|error| {
        let hint = "set XDG_CACHE_HOME to a folder that you may write";
        error::host(format!("{error:#}; {hint}"))
    })?;
    prepare().map_err(|error| {
        if !is_out_of_space(&error) {
            return error;
        }
        let free = free_space().map_or_else(|_| "too few bytes".to_owned(), progress::size);
        error::host(format!(
            "not enough space below {}: {free} are free, and {} may be needed; make room, or set XDG_CACHE_HOME to a folder on a larger file system",
            cache.display(),
            progress::size(source::SPACE + BUILD_SPACE)
        ))
    })
}

/// Is there as much room as that? What is found out later costs a user more.
fn need_space(bytes: u64) -> Result<()> {
    anyhow::ensure!(free_space()? >= bytes, io::Error::from(Errno::ENOSPC));
    Ok(())
}

/// Bytes that are free for us on the file system of the cache folder.
fn free_space() -> Result<u64> {
    let stat = statvfs(&paths::cache()?).context("asking for the free space")?;
    Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

/// A kernel's source, unpacked: that of the image that was chosen, or what `--kernel-source` names.
pub fn source_tree(args: &KernelArgs) -> Result<PathBuf> {
    with_space(|| match (args.choice(), args.source.as_deref()) {
        (Choice::Image(release), None) => Ok(fetching(|| stock::fetch(release.as_deref()))?.1),
        (_, named) => {
            let known = source::Source::known(named)?;
            Ok(fetching(|| own::unpacked(known))?.dir)
        }
    })
}

/// What is fetched is for all kernels: one run at a time, and nothing half-made is left.
fn fetching<T>(fetch: impl FnOnce() -> Result<T>) -> Result<T> {
    let _lock = lock(&paths::cache()?.join("lock"), "fetches a kernel")?;
    let scratch = scratch()?;
    // What a run left that was killed outright: nobody works there now.
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch)?;
    let result = fetch();
    let _ = fs::remove_dir_all(&scratch);
    result
}

/// What is fetched is unpacked here.
fn scratch() -> Result<PathBuf> {
    Ok(paths::cache()?.join("tmp"))
}

/// One run at a time builds a kernel; others may build other kernels.
fn building(dir: &Path) -> Result<Lock> {
    fs::create_dir_all(dir)?;
    lock(&dir.join("lock"), "builds this kernel")
}

/// Run a `make` that takes its time, a step for each line that it says; an error says why `what` failed.
fn long_make(command: &mut Command, log: &Path, progress: &mut Progress, what: &str) -> Result<()> {
    let mut said = Vec::new();
    let status = process::logged(command, log, |line| {
        progress.step();
        let telling = ["error:", "error[", "***", "undefined symbol"];
        if said.len() < 12 && telling.iter().any(|word| line.contains(word)) {
            said.push(line.to_owned());
        }
    })?;
    if status.success() {
        return Ok(());
    }
    anyhow::bail!(Failure::Host(format!(
        "{what} failed; log: {}\n{}",
        log.display(),
        said.join("\n")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_says_what_to_do() {
        let error = with_space(|| need_space(u64::MAX)).unwrap_err();
        assert_eq!(error::code(&error), 3);
        assert!(format!("{error:#}").contains("XDG_CACHE_HOME"));
        assert!(!is_out_of_space(&anyhow::anyhow!("something else")));
    }
}

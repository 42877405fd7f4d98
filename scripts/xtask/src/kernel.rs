// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel that modules are built for and run on.
//!
//! Three stages, each finished or not there: the source (`source/<name>`, renamed into place when
//! whole), the configuration, and the build (`kernel/<key>/stamp.json`, written last). A run that
//! was interrupted goes on where it stopped; a lock lets the second of two runs wait.

mod apt;
mod config;
mod source;
mod stock;
mod tree;

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use serde::Deserialize;
use serde::Serialize;
use walkdir::WalkDir;

use crate::cli::Choice;
use crate::cli::KernelArgs;
use crate::error;
use crate::error::Failure;
use crate::host;
use crate::lock::lock;
use crate::lock::Lock;
use crate::paths;
use crate::paths::write_whole;
use crate::process;
use crate::progress::Progress;
use crate::progress::Unit;
pub use source::tree_version as source_version;
use source::Source;
pub use stock::numbers;
pub use stock::tested;

/// What a build directory has to boot.
const IMAGE: &str = "arch/x86/boot/bzImage";

/// Lines of talk of a build of our configuration, for the bar.
const STEPS: u64 = 2050;

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
    /// The image with symbols, of a kernel that was built here.
    pub vmlinux: Option<PathBuf>,
    /// What `make` must be told of the compiler.
    make_args: Vec<String>,
}

impl Kernel {
    /// The kernel that the command line chose, if it is there; nothing slow.
    pub fn resolve(args: &KernelArgs) -> Result<Kernel> {
        let missing = || {
            error::host("this kernel is not prepared yet: `cargo xtask kernel` with the same options does it")
        };
        match args.choice() {
            Choice::Dir(dir) => tree::check(&dir),
            Choice::Stock => stock::prepared(None)?.ok_or_else(missing),
            Choice::Release(release) => stock::prepared(Some(&release))?.ok_or_else(missing),
            Choice::Own { debug } => Plan::of(args, debug)?.finished().ok_or_else(missing),
        }
    }

    /// The same, built first where that is missing.
    pub fn ensure(args: &KernelArgs) -> Result<Kernel> {
        match args.choice() {
            Choice::Dir(dir) => tree::check(&dir),
            Choice::Stock => stock::ensure(None),
            Choice::Release(release) => stock::ensure(Some(&release)),
            Choice::Own { debug } => match Plan::of(args, debug)?.finished() {
                Some(kernel) => Ok(kernel),
                None => build(args, debug),
            },
        }
    }

    /// Where the kernel's own modules are.
    pub fn modules(&self) -> &Path {
        match self.image.starts_with(&self.build) {
            true => &self.build,
            false => self.image.parent().unwrap_or(&self.build),
        }
    }

    /// The folder that keeps what this very build tells of itself.
    pub fn facts(&self) -> Result<PathBuf> {
        let image = fs::read(&self.image).context("reading the kernel's image")?;
        let build = build_text(&image).context("the kernel's image does not say which it is")?;
        let facts = paths::cache()?.join("facts").join(&self.key);
        Ok(facts.join(digest(&[&build])))
    }

    /// What `make` in a module's own folder is to be told.
    pub fn words_of_make(&self) -> Vec<String> {
        let mut words = vec![format!("KDIR={}", self.build.display())];
        words.extend(self.make_args.clone());
        words.push(format!("RUST_LIB_SRC={}", host::RUST_LIBRARY));
        words
    }

    /// `make` in the build directory with the toolchain that this kernel needs.
    pub fn make(&self) -> Command {
        make(&self.build, None, &self.make_args)
    }
}

/// Release, builder, number and date of the build, as x86's boot protocol has them (`kernel_version`,
/// `Documentation/arch/x86/boot.rst`). The build id is packed with the rest of the kernel.
fn build_text(image: &[u8]) -> Option<String> {
    let at = u16::from_le_bytes(image.get(0x20e..0x210)?.try_into().ok()?);
    let text = image.get(0x200 + usize::from(at)..)?;
    let text = text.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// C compiled by the build root's LLVM.
fn llvm() -> String {
    format!("LLVM={}", host::LLVM)
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
        .arg(format!("RUST_LIB_SRC={}", host::RUST_LIBRARY))
        // A make above us must not hand down its flags, nor the user's choice of kernel its own.
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS")
        .env_remove("KDIR")
        // Cargo's, when it runs us: rustc has libraries of its own.
        .env_remove("LD_LIBRARY_PATH")
        .env("LC_ALL", "C");
    command
}

/// What is written when a build is finished.
#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    release: String,
    /// The folder of the source, which other kernels may share.
    source: PathBuf,
}

/// One kernel to be: its source, toolchain and key, and from these its folders.
struct Plan {
    /// `None` while nothing was fetched yet.
    source: Option<Source>,
    fragments: String,
    cache: PathBuf,
}

impl Plan {
    fn of(args: &KernelArgs, debug: bool) -> Result<Plan> {
        let cache = paths::cache()?;
        Ok(Plan {
            source: Source::known(args.source.as_deref(), &cache)?,
            fragments: config::fragments(debug)?,
            cache,
        })
    }

    fn key(&self) -> Option<String> {
        let source = self.source.as_ref()?;
        Some(key(
            &source.version,
            &[
                &source.identity,
                &self.fragments,
                // Modules need the very compiler of their kernel.
                &host::version_text("rustc").ok()?,
            ],
        ))
    }

    fn finished(&self) -> Option<Kernel> {
        let key = self.key()?;
        let dir = self.cache.join("kernel").join(&key);
        let stamp: Stamp =
            serde_json::from_str(&fs::read_to_string(dir.join("stamp.json")).ok()?).ok()?;
        let build = dir.join("build");
        let kernel = Kernel {
            source: stamp.source,
            key,
            release: stamp.release,
            image: build.join(IMAGE),
            vmlinux: Some(build.join("vmlinux")),
            make_args: vec![llvm()],
            build,
        };
        (kernel.image.is_file() && kernel.source.is_dir()).then_some(kernel)
    }
}

/// A name for a kernel: its version, then what else makes a difference.
fn key(version: &str, parts: &[&str]) -> String {
    format!("{version}-{}", digest(parts))
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

fn build(args: &KernelArgs, debug: bool) -> Result<Kernel> {
    let cache = paths::cache()?;
    create(&cache)?;
    fetch_and_build(args, debug, &cache)
        .map_err(|error| explain_space(error, &cache, source::SPACE + BUILD_SPACE))
}

/// Did something of ours, a log for instance, or of the kernel's build find the disk full?
fn is_out_of_space(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.raw_os_error() == Some(Errno::ENOSPC as i32))
}

/// An error that is a full disk's says so, and what to do.
fn explain_space(error: anyhow::Error, cache: &Path, need: u64) -> anyhow::Error {
    if is_out_of_space(&error) {
        return no_space(cache, need);
    }
    error
}

fn fetch_and_build(args: &KernelArgs, debug: bool, cache: &Path) -> Result<Kernel> {
    let mut plan = Plan::of(args, debug)?;
    let source = fetching(cache, || match plan.source.take() {
        Some(source) if source.unpacked() => Ok(source),
        known => {
            need_space(cache, source::SPACE + BUILD_SPACE)?;
            source::fetch(known, cache)
        }
    })?;
    let source_dir = source.dir.clone();
    plan.source = Some(source);
    let key = plan.key().context("a source without a version")?;
    let dir = cache.join("kernel").join(key);
    let _lock = building(&dir)?;
    if plan.finished().is_none() {
        compile(&plan, &dir, &source_dir)?;
    }
    plan.finished()
        .context("the kernel was built, but its stamp cannot be read")
}

/// What is fetched is for all kernels: one run at a time, and nothing half-made is left.
fn fetching<T>(cache: &Path, fetch: impl FnOnce() -> Result<T>) -> Result<T> {
    let _lock = lock(&cache.join("lock"), "fetches a kernel")?;
    let scratch = cache.join("tmp");
    // What a run left that was killed outright: nobody works there now.
    remove(&scratch)?;
    let result = fetch();
    remove(&scratch)?;
    result
}

/// One run at a time builds a kernel; others may build other kernels.
fn building(dir: &Path) -> Result<Lock> {
    create(dir)?;
    lock(&dir.join("lock"), "builds this kernel")
}

/// Configure and build into `dir`; the stamp comes last.
fn compile(plan: &Plan, dir: &Path, source: &Path) -> Result<()> {
    let build = dir.join("build");
    create(&build)?;
    let done = commands_done(&build);
    if done == 0 {
        need_space(&build, BUILD_SPACE)?;
    }
    let make = |target: &[&str]| {
        let mut command = make(&build, Some(source), &[llvm()]);
        command
            .args(target)
            .env("KBUILD_BUILD_USER", "livepatch")
            .env("KBUILD_BUILD_HOST", "cookbook");
        command
    };

    config::configure(&make, dir, &build, &plan.fragments)?;

    let log = dir.join("build.log");
    eprintln!("log: {}", log.display());
    let mut command = make(&["bzImage", "modules"]);
    command.arg(format!("-j{}", host::jobs()));
    let mut progress = Progress::new("build the kernel", Unit::Steps, STEPS, done.min(STEPS));
    long_make(&mut command, &log, &mut progress, "building the kernel").inspect_err(|error| {
        if is_out_of_space(error) {
            // What is there may be cut short, and the room is wanted back.
            let _ = fs::remove_dir_all(dir);
        }
    })?;
    progress.finish();

    let release = fs::read_to_string(build.join("include/config/kernel.release"))
        .context("reading the kernel's release")?;
    let stamp = Stamp {
        release: release.trim().to_owned(),
        source: source.to_path_buf(),
    };
    write_whole(
        &dir.join("stamp.json"),
        &serde_json::to_string_pretty(&stamp)?,
    )
}

/// Run a `make` that takes its time, a step for each line that it says; an error says why `what` failed.
fn long_make(command: &mut Command, log: &Path, progress: &mut Progress, what: &str) -> Result<()> {
    let (mut said, mut full) = (Vec::new(), false);
    let status = process::logged(command, log, None, |line| {
        progress.step();
        full |= line.contains("No space left on device");
        let telling = ["error:", "error[", "***", "undefined symbol"];
        if said.len() < 12 && telling.iter().any(|word| line.contains(word)) {
            said.push(line.to_owned());
        }
    })?;
    if status.success() {
        return Ok(());
    }
    if full {
        bail!(io::Error::from_raw_os_error(Errno::ENOSPC as i32));
    }
    bail!(Failure::Host(format!(
        "{what} failed; log: {}\n{}",
        log.display(),
        said.join("\n")
    )))
}

/// How many commands an earlier, interrupted run completed: each left a `.cmd` file.
fn commands_done(dir: &Path) -> u64 {
    let files = WalkDir::new(dir).into_iter().flatten();
    let done = files.filter(|file| file.file_name().to_string_lossy().ends_with(".o.cmd"));
    done.count() as u64
}

fn no_space(path: &Path, need: u64) -> anyhow::Error {
    let size = crate::progress::size;
    let free = host::free_space(path).map_or_else(|_| "too few bytes".to_owned(), size);
    error::host(format!(
        "not enough space below {}: {free} are free, and {} are needed; make room, or set XDG_CACHE_HOME to a folder on a larger file system",
        path.display(),
        size(need)
    ))
}

fn need_space(path: &Path, need: u64) -> Result<()> {
    if host::free_space(path)? < need {
        return Err(no_space(path, need));
    }
    Ok(())
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(())
}

fn create(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| {
        Failure::Host(format!(
            "cannot create {}: {error}; set XDG_CACHE_HOME to a folder that you may write",
            dir.display()
        ))
        .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_changes_with_each_part() {
        let all = key("7.2.12", &["a", "b", "c"]);
        assert!(all.starts_with("7.2.12-"));
        assert_eq!(all, key("7.2.12", &["a", "b", "c"]));
        assert_ne!(all, key("7.2.12", &["a", "b", "d"]));
        // Parts cannot flow into one another.
        assert_ne!(key("7", &["ab", "c"]), key("7", &["a", "bc"]));
    }

    #[test]
    fn an_image_says_which_it_is() {
        let mut image = vec![0; 0x200];
        image.splice(0x200.., [0; 0x10].into_iter().chain(*b"7.2.12 #1\0more"));
        image[0x20e] = 0x10;
        assert_eq!(build_text(&image).as_deref(), Some("7.2.12 #1"));
        assert_eq!(build_text(&image[..0x20f]), None);
    }

    #[test]
    fn a_full_disk_is_known_behind_its_context() {
        let full = io::Error::from_raw_os_error(Errno::ENOSPC as i32);
        assert!(is_out_of_space(
            &anyhow::Error::from(full).context("writing the log")
        ));
        assert!(!is_out_of_space(&anyhow::anyhow!("something else")));
    }

    #[test]
    fn too_little_space_says_what_to_do() {
        let error = need_space(Path::new("/tmp"), u64::MAX).unwrap_err();
        assert_eq!(error::code(&error), 3);
        assert!(format!("{error:#}").contains("XDG_CACHE_HOME"));
    }
}

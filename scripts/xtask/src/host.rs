// SPDX-License-Identifier: GPL-2.0 OR MIT

//! This machine: its tools, where they are, and which versions they have.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::error;
use crate::paths;
use crate::process;

/// The kernel's own demands (`scripts/min-tool-version.sh` of Linux 7.2).
pub const MIN_RUSTC: Version = Version(1, 85, 0);
pub const MIN_BINDGEN: Version = Version(0, 71, 1);
pub const MIN_LLVM: Version = Version(17, 0, 1);

/// Suffixes of LLVM's commands, the one we test with first.
const LLVM_SUFFIXES: [&str; 7] = ["-19", "", "-20", "-21", "-22", "-18", "-17"];

/// What `make LLVM=` takes from LLVM.
const LLVM_COMMANDS: [&str; 8] = [
    "clang",
    "ld.lld",
    "llvm-ar",
    "llvm-nm",
    "llvm-objcopy",
    "llvm-objdump",
    "llvm-readelf",
    "llvm-strip",
];

/// A version: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The first thing in `text` that looks like a version.
    pub fn parse(text: &str) -> Option<Version> {
        let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
        for word in words {
            let mut numbers = word.split('.').map(str::parse);
            if let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) {
                let patch = numbers.next().and_then(Result::ok).unwrap_or(0);
                return Some(Version(major, minor, patch));
            }
        }
        None
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The first executable called `name` on PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // Administrators' tools are not on everybody's PATH.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(more)
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// The first line of what `program --version` says.
pub fn version_text(program: impl AsRef<OsStr>) -> Result<String> {
    let text = process::capture(Command::new(program).arg("--version"))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// One tool with the version that it reported.
#[derive(Clone, Debug)]
pub struct Tool {
    pub path: PathBuf,
    pub text: String,
    pub version: Version,
}

impl Tool {
    fn probe(path: PathBuf) -> Option<Tool> {
        let text = version_text(&path).ok()?;
        let version = Version::parse(&text)?;
        Some(Tool {
            path,
            text,
            version,
        })
    }
}

/// LLVM as the kernel's `make LLVM=<suffix>` takes it.
#[derive(Clone, Debug)]
pub struct Llvm {
    pub suffix: String,
    pub clang: Tool,
    /// The folder of `libclang.so`, for bindgen.
    pub libclang: PathBuf,
}

impl Llvm {
    /// The first LLVM that is whole and new enough.
    pub fn find() -> Option<Llvm> {
        LLVM_SUFFIXES.iter().find_map(|suffix| {
            if !LLVM_COMMANDS
                .iter()
                .all(|c| find(&format!("{c}{suffix}")).is_some())
            {
                return None;
            }
            let clang = Tool::probe(find(&format!("clang{suffix}"))?)?;
            let libclang = PathBuf::from(format!("/usr/lib/llvm-{}/lib", clang.version.0));
            (clang.version >= MIN_LLVM && has_libclang(&libclang)).then(|| Llvm {
                suffix: (*suffix).to_owned(),
                clang,
                libclang,
            })
        })
    }

    /// The value for `make LLVM=`.
    pub fn make_value(&self) -> &str {
        if self.suffix.is_empty() {
            "1"
        } else {
            &self.suffix
        }
    }
}

fn has_libclang(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.any(|e| {
            e.is_ok_and(|e| {
                let name = e.file_name();
                let name = name.to_string_lossy();
                name.starts_with("libclang.so") || name.starts_with("libclang-")
            })
        })
    })
}

/// rustc together with the source of its standard library, from which the kernel builds `core`.
#[derive(Clone, Debug)]
pub struct Rust {
    pub rustc: Tool,
    pub library: PathBuf,
}

impl Rust {
    /// The first rustc that is new enough and has its library's source: `$RUSTC`, the
    /// distribution's, then whatever is on PATH.
    pub fn find() -> Option<Rust> {
        let named = env::var_os("RUSTC").map(PathBuf::from);
        let candidates = match named {
            Some(named) if named.components().count() > 1 => vec![named],
            Some(named) => find(&named.to_string_lossy()).into_iter().collect(),
            None => [Some(PathBuf::from("/usr/bin/rustc")), find("rustc")]
                .into_iter()
                .flatten()
                .filter(|path| is_executable(path))
                .collect(),
        };
        candidates.into_iter().find_map(|path| {
            let rustc = Tool::probe(path)?;
            let library = library_of(&rustc)?;
            (rustc.version >= MIN_RUSTC).then_some(Rust { rustc, library })
        })
    }

    /// A companion of rustc (`rustdoc`, `clippy-driver`) from the same installation.
    pub fn companion(&self, name: &str) -> Option<PathBuf> {
        let path = self.rustc.path.with_file_name(name);
        is_executable(&path).then_some(path)
    }
}

fn library_of(rustc: &Tool) -> Option<PathBuf> {
    let is_library = |dir: &PathBuf| dir.join("core/src/lib.rs").is_file();
    if let Some(named) = env::var_os("RUST_LIB_SRC").map(PathBuf::from) {
        return Some(named).filter(is_library);
    }
    // Debian's packages of the source, then the place where rustup puts it.
    let debian = PathBuf::from(format!("/usr/src/rustc-{}/library", rustc.version));
    if rustc.path.starts_with("/usr/bin") && is_library(&debian) {
        return Some(debian);
    }
    let root = process::capture(Command::new(&rustc.path).args(["--print", "sysroot"])).ok()?;
    Some(Path::new(root.trim()).join("lib/rustlib/src/rust/library")).filter(is_library)
}

/// bindgen: `$BINDGEN`, ours, or the distribution's.
pub fn find_bindgen() -> Option<Tool> {
    let candidates = match env::var_os("BINDGEN") {
        Some(named) => vec![PathBuf::from(named)],
        None => [
            paths::tools().ok().map(|dir| dir.join("bin/bindgen")),
            find("bindgen"),
        ]
        .into_iter()
        .flatten()
        .filter(|path| is_executable(path))
        .collect(),
    };
    candidates
        .into_iter()
        .filter_map(Tool::probe)
        .find(|tool| tool.version >= MIN_BINDGEN)
}

/// Everything that builds a kernel with Rust in it.
#[derive(Clone, Debug)]
pub struct Toolchain {
    pub rust: Rust,
    pub llvm: Llvm,
    pub bindgen: Tool,
}

impl Toolchain {
    /// The toolchain of this machine, or one sentence that names what is missing.
    pub fn find() -> Result<Toolchain> {
        let (rust, llvm, bindgen) = (Rust::find(), Llvm::find(), find_bindgen());
        let mut missing = Vec::new();
        if rust.is_none() {
            missing.push(format!("rustc >= {MIN_RUSTC} with its library's source"));
        }
        if llvm.is_none() {
            missing.push(format!("clang, lld, llvm and libclang >= {MIN_LLVM}"));
        }
        if bindgen.is_none() {
            missing.push(format!("bindgen >= {MIN_BINDGEN}"));
        }
        match (rust, llvm, bindgen) {
            (Some(rust), Some(llvm), Some(bindgen)) => Ok(Toolchain {
                rust,
                llvm,
                bindgen,
            }),
            _ => Err(error::host(format!(
                "missing: {}; run scripts/setup",
                missing.join("; ")
            ))),
        }
    }

    /// The variables that `make` needs to use it. `clang` says whether C is compiled with it too.
    pub fn make_args(&self, clang: bool) -> Vec<String> {
        let mut args = vec![
            format!("RUSTC={}", self.rust.rustc.path.display()),
            format!("RUST_LIB_SRC={}", self.rust.library.display()),
            format!("BINDGEN={}", self.bindgen.path.display()),
        ];
        if let Some(rustdoc) = self.rust.companion("rustdoc") {
            args.push(format!("RUSTDOC={}", rustdoc.display()));
        }
        if clang {
            args.push(format!("LLVM={}", self.llvm.make_value()));
        }
        args
    }

    /// What distinguishes this toolchain from others whose kernels it cannot share.
    pub fn fingerprint(&self) -> String {
        [&self.rust.rustc, &self.llvm.clang, &self.bindgen]
            .map(|tool| tool.text.as_str())
            .join("\n")
    }
}

/// Bytes that are free for us on the file system of `path`, which need not exist yet.
pub fn free_space(path: &Path) -> Result<u64> {
    let existing = path
        .ancestors()
        .find(|p| p.exists())
        .context("no folder of this path exists")?;
    let stat = nix::sys::statvfs::statvfs(existing)
        .with_context(|| format!("asking for the free space of {}", existing.display()))?;
    Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

/// How many jobs to run at once.
pub fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_say() {
        for (text, version) in [
            ("rustc 1.96.0 (ac68faa20 2026-05-25)", Version(1, 96, 0)),
            ("Debian clang version 19.1.7 (3~deb12u1)", Version(19, 1, 7)),
            ("bindgen 0.72.1", Version(0, 72, 1)),
            ("virtme-ng 1.42", Version(1, 42, 0)),
            (
                "Debian LLD 19.1.7 (compatible with GNU linkers)",
                Version(19, 1, 7),
            ),
        ] {
            assert_eq!(Version::parse(text), Some(version), "{text}");
        }
        assert_eq!(Version::parse("no number, 7 alone"), None);
        assert!(Version(1, 100, 0) > Version(1, 85, 9));
    }

    #[test]
    fn free_space_of_a_folder_to_be() {
        assert!(free_space(Path::new("/tmp/not/there/yet")).unwrap() > 0);
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Small kernels, one for each file of `scripts/xtask/kernels`: with the kernel's own checkers, for arm64 and so on. Built
//! here from the source of Debian's image, or from one that the user names, out of `allnoconfig` and fragments; the
//! configuration is checked, since Kconfig drops without a word what it cannot give.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use serde_json::json;
use serde_json::Value;

use super::source;
use super::source::Source;
use super::stock;
use super::tree;
use super::Kernel;
use crate::cli::KernelArgs;
use crate::error;
use crate::paths;
use crate::process;
use crate::progress::Progress;
use crate::progress::Unit;

/// What the tests and the virtual machine ask for, in the form of a `.config`; on top of it comes what is the kernel's own.
const FRAGMENTS: [&str; 2] = ["selftests/config", "scripts/xtask/vm.config"];

/// What is the kernel's own: a file for each.
const KERNELS: &str = "scripts/xtask/kernels";

/// What a fragment asks for whose kernel is cross-built, or compiled by gcc.
const ARM64: &str = "CONFIG_ARM64=y\n";
const GCC: &str = "CONFIG_CC_IS_GCC=y\n";

/// C compiled by the build root's LLVM.
pub const LLVM: &str = "LLVM=-19";

/// Lines of talk of a build of our configuration, for the bar.
const STEPS: u64 = 2050;

/// One kernel to be: its source and configuration, and from these its folder.
struct Plan {
    /// `None` while nothing was fetched yet.
    source: Option<Source>,
    fragments: String,
}

/// What the kernel of that name asks for, if there is one.
pub fn fragment(name: &str) -> PathBuf {
    paths::root().join(format!("{KERNELS}/{name}.config"))
}

/// The files of an arm64 guest, where `scripts/setup arm64` has made them.
pub fn arm64_tree() -> Result<Option<PathBuf>> {
    let tree = paths::cache()?.join("arm64");
    Ok(tree.join("bin/sh").exists().then_some(tree))
}

/// The names of all that this machine can run.
pub fn names() -> Result<Vec<String>> {
    let files = paths::files_in(&paths::root().join(KERNELS), "config")?;
    let names = files.iter().filter_map(|path| path.file_stem());
    let has_arm64 = arm64_tree()?.is_some();
    Ok(names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| has_arm64 || name != "arm64")
        .collect())
}

impl Plan {
    fn of(args: &KernelArgs, name: &str) -> Result<Plan> {
        let own = fs::read_to_string(fragment(name))?;
        Ok(Plan {
            source: Source::known(args.source.as_deref())?,
            fragments: fragments(&FRAGMENTS)? + &assignments(&own),
        })
    }

    fn is_arm64(&self) -> bool {
        self.fragments.contains(ARM64)
    }

    /// What `make` is told of architecture and compiler; of two assignments it takes the last.
    fn words(&self) -> &[&str] {
        match self.is_arm64() {
            true => &[super::ARM64],
            false if self.fragments.contains(GCC) => &["LLVM="],
            false => &[],
        }
    }

    fn key(&self) -> Option<String> {
        let source = self.source.as_ref()?;
        let parts = [
            &source.identity,
            &self.fragments,
            // Modules need the very compiler of their kernel.
            &super::rustc_version().ok()?,
        ];
        let digest = super::digest(&parts.map(String::as_str));
        Some(format!("{}-{digest}", source::tree_version(&source.dir)?))
    }

    fn finished(&self) -> Option<Kernel> {
        let key = self.key()?;
        let dir = paths::cache().ok()?.join("kernel").join(&key);
        let stamp = fs::read_to_string(dir.join("stamp.json")).ok()?;
        let stamp: Value = serde_json::from_str(&stamp).ok()?;
        let kernel = Kernel {
            source: stamp["source"].as_str()?.into(),
            key,
            ..tree::check(&dir.join("build")).ok()?
        };
        (kernel.image.is_file() && kernel.source.is_dir()).then_some(kernel)
    }
}

/// The kernel of that name, if it is built.
pub fn prepared(args: &KernelArgs, name: &str) -> Result<Option<Kernel>> {
    Ok(Plan::of(args, name)?.finished())
}

/// The same, built first where that is missing.
pub fn ensure(args: &KernelArgs, name: &str) -> Result<Kernel> {
    let mut plan = Plan::of(args, name)?;
    if let Some(kernel) = plan.finished() {
        return Ok(kernel);
    }
    super::with_space(|| {
        let source = super::fetching(|| unpacked(plan.source.take()))?;
        let source_dir = source.dir.clone();
        plan.source = Some(source);
        let key = plan.key().context("a source without a version")?;
        let dir = paths::cache()?.join("kernel").join(key);
        let _lock = super::building(&dir)?;
        if plan.finished().is_none() {
            compile(&dir, &source_dir, &plan)?;
            // The source may be that of other kernels as well.
            let stamp = json!({"source": source_dir});
            paths::write_whole(&dir.join("stamp.json"), &stamp.to_string())?;
        }
        plan.finished()
            .context("the kernel was built, but its stamp cannot be read")
    })
}

/// The source that is known, or else that of the stock image, unpacked.
pub fn unpacked(known: Option<Source>) -> Result<Source> {
    match known {
        Some(source) => source::fetch(&source).map(|()| source),
        None => Ok(Source::of_image(stock::fetch(None)?.1)),
    }
}

/// Configure and build into `dir`.
fn compile(dir: &Path, source: &Path, plan: &Plan) -> Result<()> {
    if !dir.join("build").exists() {
        super::need_space(super::BUILD_SPACE)?;
    }
    configure(dir, source, plan.words(), &plan.fragments)?;

    let log = dir.join("build.log");
    eprintln!("log: {}", log.display());
    let mut command = make(dir, source, plan.words());
    command.args([if plan.is_arm64() { "Image" } else { "bzImage" }, "modules"]);
    let mut progress = Progress::new("build the kernel", Unit::Steps, STEPS, 0);
    super::long_make(&mut command, &log, &mut progress, "building the kernel").inspect_err(
        |error| {
            if super::is_out_of_space(error) {
                // What is there may be cut short, and the room is wanted back.
                let _ = fs::remove_dir_all(dir);
            }
        },
    )?;
    if plan.is_arm64() {
        // A guest of another architecture cannot look for them in the build root. By a make of its own, which does not begin
        // before there are any.
        let mut command = make(dir, source, plan.words());
        command
            .arg("modules_install")
            .arg(format!("INSTALL_MOD_PATH={}", dir.join("build").display()));
        super::long_make(&mut command, &log, &mut progress, "installing its modules")?;
    }
    progress.finish();
    Ok(())
}

/// `make` for a kernel of `source` in `dir`.
pub fn make(dir: &Path, source: &Path, words: &[&str]) -> Command {
    let build = dir.join("build");
    let mut command = super::make(&build, Some(source), &[]);
    command
        .arg(LLVM)
        .args(words)
        .env("KBUILD_BUILD_USER", "livepatch")
        .env("KBUILD_BUILD_HOST", "cookbook");
    command
}

/// All that the fragments ask for, without their comments: these may change without a new kernel.
pub fn fragments(names: &[&str]) -> Result<String> {
    let mut all = String::new();
    for name in names {
        all += &assignments(&fs::read_to_string(paths::root().join(name))?);
    }
    Ok(all)
}

fn assignments(text: &str) -> String {
    let lines = text.lines().filter(|line| line.starts_with("CONFIG_"));
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Make `.config` from `fragments`, and check that it gives everything they ask for.
pub fn configure(dir: &Path, source: &Path, words: &[&str], fragments: &str) -> Result<()> {
    fs::create_dir_all(dir.join("build"))?;
    let file = dir.join("all.config");
    fs::write(&file, fragments)?;
    let log = dir.join("config.log");
    let mut command = make(dir, source, words);
    command.arg("allnoconfig").env("KCONFIG_ALLCONFIG", &file);
    let (status, said) = process::transcript(&mut command, &log)?;
    if !status.success() {
        let complaint = said.iter().find(|line| line.contains("***"));
        return Err(error::host(format!(
            "configuring the kernel failed; log: {}\n{}",
            log.display(),
            complaint.map_or("", String::as_str)
        )));
    }
    let missing = not_given(fragments, &fs::read_to_string(dir.join("build/.config"))?);
    if missing.is_empty() {
        return Ok(());
    }
    let hint = if missing.iter().any(|m| m.starts_with("CONFIG_RUST=")) {
        "; this tree or toolchain has no Rust support (`make rustavailable` in it says why)"
    } else {
        ""
    };
    Err(error::host(format!(
        "this kernel cannot be configured as asked: {}{hint}; use the Linux 7.2 that is fetched by default, or another source",
        missing.join(", ")
    )))
}

/// The assignments of a `.config`; an option that is not there is `n`.
pub fn parse(config: &str) -> BTreeMap<&str, &str> {
    config
        .lines()
        .filter_map(|line| line.trim().strip_prefix("CONFIG_")?.split_once('='))
        .collect()
}

/// What `asked` wants and `config` does not have, each as `CONFIG_X=y`.
pub fn not_given(asked: &str, config: &str) -> Vec<String> {
    let config = parse(config);
    parse(asked)
        .into_iter()
        .filter(|(name, value)| config.get(name).unwrap_or(&"n") != value)
        .map(|(name, value)| format!("CONFIG_{name}={value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_option_is_noticed() {
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_D=y\n";
        assert_eq!(
            not_given("CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=m\n", config),
            Vec::<String>::new()
        );
        assert_eq!(
            not_given("CONFIG_B=y\nCONFIG_C=y\nCONFIG_D=n\nCONFIG_E=n\n", config),
            ["CONFIG_B=y", "CONFIG_C=y", "CONFIG_D=n"]
        );
    }

    #[test]
    fn the_fragments_ask_for_each_option_once() {
        let text = fragments(&FRAGMENTS).unwrap();
        assert_eq!(parse(&text).len(), text.lines().count());
    }
}

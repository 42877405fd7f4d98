// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands that are packages of their own, which work by this tool's commands: `bench`, and `preflight` for what is asked
//! about a livepatch.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::cargo;
use crate::cli::BenchArgs;
use crate::cli::BenchCommand;
use crate::cli::KernelArgs;
use crate::cli::NewArgs;
use crate::error;
use crate::error::Failure;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::parts;
use crate::paths;

/// `cargo xtask bench …`.
pub fn bench(args: &KernelArgs, what: &BenchArgs) -> Result<()> {
    let mut words = match &what.what {
        Some(BenchCommand::Cold) => {
            print!("{}", parts::all());
            return Ok(());
        }
        Some(BenchCommand::Loop { rounds }) => vec!["loop".to_owned(), rounds.to_string()],
        None => vec!["compare".to_owned(), what.rounds.max(1).to_string()],
    };
    if args.debug {
        return Err(error::usage(
            "the debug kernel checks every step, and what it costs says nothing: leave out --debug",
        ));
    }
    words.extend(what.quick.then(|| "quick".to_owned()));
    words.extend(what.book.then(|| "book".to_owned()));
    let mut command = package(args, "bench")?;
    become_it(command.args(words))
}

/// `cargo xtask facts`.
pub fn facts(args: &KernelArgs) -> Result<()> {
    become_it(&mut preflight_command(
        args,
        &Kernel::ensure(args)?,
        "facts",
    )?)
}

/// `cargo xtask ask FUNCTION [OBJECT]`; of all assembly without a function.
pub fn ask(args: &KernelArgs, function: Option<&str>, object: Option<&str>) -> Result<()> {
    let verb = function.map_or("assembly", |_| "ask");
    let mut command = preflight_command(args, &Kernel::ensure(args)?, verb)?;
    become_it(command.args(function).args(object))
}

/// `cargo xtask new NAME …`.
pub fn new(args: &KernelArgs, name: &str, what: &NewArgs) -> Result<()> {
    let out = what.out.as_ref().map(std::path::absolute).transpose()?;
    let place = [paths::root(), out.unwrap_or_default()];
    if let Some(kind) = &what.kind {
        let mut command = package(args, "preflight")?;
        return become_it(command.arg("kind").args(place).args([name, kind]));
    }
    let mut command = preflight_command(args, &Kernel::ensure(args)?, "new")?;
    command.args(place);
    command.args([name, &what.callbacks.join(","), &what.state.to_string()]);
    let function = what.function.as_deref().filter(|name| *name != "-");
    become_it(command.arg(function.unwrap_or_default()).args(&what.object))
}

/// `cargo xtask translate PATCH`.
pub fn translate(args: &KernelArgs, patch: &Path) -> Result<()> {
    let patch = std::path::absolute(patch)?;
    become_it(preflight_command(args, &Kernel::ensure(args)?, "translate")?.arg(patch))
}

/// `cargo xtask preflight [MODULE…]`.
pub fn preflight(args: &KernelArgs, modules: &[String], json: bool) -> Result<()> {
    let kernel = Kernel::ensure(args)?;
    let modules = modules.iter().cloned();
    let (files, names): (Vec<_>, Vec<_>) = modules.partition(|m| Path::new(m).is_file());
    let mut command = preflight_command(args, &kernel, "preflight")?;
    command.args(json.then_some("--json")).args(&files);
    if files.is_empty() || !names.is_empty() {
        command.args(kbuild::build(&kernel, &names)?);
    }
    become_it(&mut command)
}

/// What is wrong with modules that were just built; a kernel that was never asked for its functions is not booted for it.
pub fn look_at_built(args: &KernelArgs, kernel: &Kernel, files: &[PathBuf]) -> Result<()> {
    if !kernel.facts()?.exists() {
        eprintln!("not looked at: `cargo xtask preflight` asks the kernel for its functions first");
        return Ok(());
    }
    let mut command = preflight_command(args, kernel, "built")?;
    command.arg(paths::root().join(WRONG));
    let status = command.args(files).status().context("starting cargo")?;
    // A warning is 10.
    match status.code() {
        Some(0 | 10) => Ok(()),
        Some(11 | 12) => {
            let refused = "what was built is refused, or worse";
            anyhow::bail!(Failure::Work(refused.to_owned()))
        }
        _ => anyhow::bail!("preflight ended with {status}"),
    }
}

/// The modules that are wrong on purpose.
const WRONG: &str = "selftests/preflight";

/// What `preflight` says of every module, as KTAP, against the list of those that are wrong.
pub fn preflight_expected(args: &KernelArgs) -> Result<Command> {
    let kernel = Kernel::ensure(args)?;
    let mut command = preflight_command(args, &kernel, "expect")?;
    command.arg(paths::root().join(WRONG));
    command.args(kbuild::build(&kernel, &[])?);
    Ok(command)
}

/// How many functions the suite `made` draws.
const DRAWN: &str = "50";

/// Livepatches of functions drawn by lot, made, built, loaded and removed, and all of ours and the kernel's own, as KTAP;
/// `KLP_SEED` is another lot.
pub fn made(args: &KernelArgs) -> Result<Command> {
    let seed = std::env::var("KLP_SEED").unwrap_or_else(|_| "1".to_owned());
    let kernel = Kernel::ensure(args)?;
    let mut command = preflight_command(args, &kernel, "made")?;
    command.arg(paths::root()).args([DRAWN, &seed]);
    command.args(kbuild::build(&kernel, &[])?);
    command.args(kbuild::upstream(&kernel)?);
    Ok(command)
}

/// The package `preflight`, with the kernel that it is to look at.
fn preflight_command(args: &KernelArgs, kernel: &Kernel, verb: &str) -> Result<Command> {
    let mut command = package(args, "preflight")?;
    command
        .arg(verb)
        .env("KLP_RELEASE", &kernel.release)
        .env("KLP_SOURCE", &kernel.source)
        .env("KLP_MODULES", kernel.modules())
        .env("KLP_SYMVERS", kernel.build.join("Module.symvers"))
        .env("KLP_MAKE", kernel.make_line())
        .env("KLP_FACTS", kernel.facts()?);
    Ok(command)
}

/// The package, and in its environment the way back to this program and this kernel.
fn package(args: &KernelArgs, name: &str) -> Result<Command> {
    let own = std::env::current_exe().context("finding this program")?;
    let kernel = if args.debug { "debug" } else { &args.kernel };
    let mut own = format!("{}\n--kernel\n{kernel}", own.display());
    if let Some(source) = &args.source {
        own += &format!("\n--kernel-source\n{}", source.display());
    }
    let mut command = cargo::command();
    command
        .args(["run", "--quiet", "--package", name, "--"])
        .env("XTASK", own)
        .current_dir(paths::root());
    Ok(command)
}

/// In our place, so that its exit status is ours.
fn become_it(command: &mut Command) -> Result<()> {
    Err(command.exec()).context("starting cargo")
}

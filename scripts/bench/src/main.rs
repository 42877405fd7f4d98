// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask bench`: what Rust costs against C, and how long a person waits, as ratios within one run.
//!
//! `xtask` starts it with the command line of itself in `XTASK`, a word a line, and with `compare ROUNDS [quick] [book]` or
//! `loop ROUNDS`. Kernels, modules and guests come from that command.

mod edit_loop;
mod guest;
mod stats;
mod twins;

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::time::SystemTime;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let rounds = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(1);
    let done = match words.first() {
        Some(&"loop") => edit_loop::run(rounds),
        _ => twins::run(rounds, words.contains(&"quick"), words.contains(&"book")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder below `target/`, made where it is missing.
fn scratch(name: &str) -> Result<PathBuf> {
    let folder = root().join("target/bench").join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder.canonicalize()?)
}

/// `cargo xtask` with the kernel that was chosen.
fn xtask(words: &[&str]) -> Result<Command> {
    let line = std::env::var("XTASK").context("run it as `cargo xtask bench`")?;
    let mut own = line.lines();
    let mut command = Command::new(own.next().unwrap_or_default());
    command.args(own).args(words).current_dir(root());
    Ok(command)
}

/// What a command prints. One that fails ends the bench with its exit status: xtask's own tells what went wrong.
fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let last: Vec<&str> = said.lines().rev().take(8).collect();
        last.iter().rev().for_each(|line| eprintln!("{line}"));
        eprintln!("bench: {command:?}: {}", output.status);
        std::process::exit(output.status.code().unwrap_or(1));
    }
    Ok(said)
}

/// Build the modules of `source` in `out` through Kbuild.
fn make(source: &Path, out: &Path) -> Result<()> {
    let said = output(&mut xtask(&["kernel", "--make"])?)?;
    let Some((build, rest)) = said
        .trim()
        .strip_prefix("KDIR=")
        .and_then(|words| words.split_once(' '))
    else {
        bail!("`kernel --make` says {said}");
    };
    let mut command = Command::new("make");
    command
        .args(["--silent", "--no-print-directory", "-C", build])
        .args(rest.split(' '))
        .arg(format!("M={}", source.display()))
        .arg(format!("MO={}", out.display()))
        .arg("modules")
        // Cargo's, when it runs us: rustc has libraries of its own.
        .env_remove("LD_LIBRARY_PATH");
    // It has much to say of what is well.
    let made = command.output().context("starting make")?;
    if !made.status.success() {
        bail!("{command:?}:\n{}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(())
}

/// Make `file` newer than what was built from it.
fn touch(file: &Path) -> Result<()> {
    File::options()
        .append(true)
        .open(file)
        .and_then(|file| file.set_modified(SystemTime::now()))
        .with_context(|| format!("touching {}", file.display()))
}

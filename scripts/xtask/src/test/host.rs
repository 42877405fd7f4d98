// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The suites that need no guest.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use fs_err as fs;

use super::guest;
use crate::book;
use crate::cargo;
use crate::cli::KernelArgs;
use crate::demo;
use crate::error::Failure;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::ktap::Verdict;
use crate::oops::pattern;
use crate::packages;
use crate::paths;
use crate::process;
use crate::results::Case;
use crate::results::Suite;
use crate::series;
use crate::tidy;

/// A suite of the host.
pub struct Host {
    pub name: &'static str,
    /// What it takes on an empty cache, in seconds.
    pub guess: u64,
    /// It holds Cargo's lock most of the time.
    pub cargo: bool,
    /// It reads what a kernel's build leaves behind.
    pub kernel: bool,
    /// It takes very long: only with CI_FULL=1, or where a pattern names it.
    pub full: bool,
}

const fn host(name: &'static str, guess: u64, cargo: bool, kernel: bool) -> Host {
    Host {
        name,
        guess,
        cargo,
        kernel,
        full: false,
    }
}

pub const ALL: [Host; 13] = [
    host("fmt", 10, false, false),
    host("tidy", 10, false, false),
    host("shellcheck", 60, false, false),
    host("cargo-test", 140, true, false),
    host("clippy", 100, true, true),
    host("doc", 60, true, true),
    host("refused", 30, false, true),
    host("proposed", 60, false, true),
    host("book", 200, true, true),
    host("preflight", 100, false, true),
    host("made", 500, false, true),
    host("story", 120, false, true),
    Host {
        full: true,
        ..host("series", 1500, false, false)
    },
];

/// Run it.
pub fn run(args: &KernelArgs, name: &str) -> Result<Suite> {
    let start = Instant::now();
    let log = log_folder()?.join(format!("{name}.log"));
    let cases = match name {
        "cargo-test" => cargo_test(&log)?,
        "fmt" => vec![command_case(
            "rustfmt would change nothing",
            cargo::command().args(["fmt", "--all", "--check"]),
            &log,
        )?],
        "shellcheck" => shellcheck(&log)?,
        "tidy" => tidy::check(&paths::root())?,
        "clippy" => vec![
            command_case(
                "host tools",
                cargo::command().args(["clippy", "--quiet", "--all-targets", "--", "-Dwarnings"]),
                &log,
            )?,
            function_case("kernel crates", cargo::clippy(args))?,
        ],
        "doc" => vec![function_case("rustdoc", cargo::doc(args).map(drop))?],
        "preflight" => ktap_cases(&mut packages::preflight_expected(args)?, &log)?,
        "made" => ktap_cases(&mut packages::made(args)?, &log)?,
        "story" => demo::stories(args)?,
        "refused" | "proposed" => compiled(args, name, &log)?,
        "series" => series::cases(args)?,
        _ => the_book(args, &log)?,
    };
    Ok(Suite::new(name, start.elapsed(), cases, log))
}

fn log_folder() -> Result<PathBuf> {
    let folder = paths::target().join("xtask");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// One case from a function that may fail; an interruption is no result.
pub fn function_case(name: &str, result: Result<()>) -> Result<Case> {
    match result {
        Ok(()) => Ok(Case::new(name, Verdict::Pass)),
        Err(error) if error.downcast_ref() == Some(&Failure::Interrupted) => Err(error),
        Err(error) => Ok(Case::failed(name, vec![format!("{error:#}")])),
    }
}

/// One case from a command.
fn command_case(name: &str, command: &mut Command, log: &Path) -> Result<Case> {
    let (status, lines) = process::transcript(command.current_dir(paths::root()), log)?;
    if status.success() {
        return Ok(Case::new(name, Verdict::Pass));
    }
    Ok(Case::failed(name, last(&lines, 200)))
}

fn last(lines: &[String], most: usize) -> Vec<String> {
    lines[lines.len().saturating_sub(most)..].to_vec()
}

/// The book is built, and then read by a browser.
fn the_book(args: &KernelArgs, log: &Path) -> Result<Vec<Case>> {
    let builds = "the book builds, and each of its links leads somewhere";
    let mut cases = vec![function_case(builds, book::check(args))?];
    if cases.iter().any(Case::is_failed) {
        return Ok(cases);
    }
    let mut command = cargo::command();
    command
        .args(["run", "--quiet", "--package", "book-test", "--"])
        .arg(book::pages())
        .arg(log_folder()?.join("book"));
    cases.extend(ktap_cases(&mut command, log)?);
    Ok(cases)
}

/// What must not compile does not: the crate's own script in the folder `name`.
fn compiled(args: &KernelArgs, name: &str, log: &Path) -> Result<Vec<Case>> {
    let kernel = Kernel::ensure(args)?;
    let make = kernel.make();
    let mut command = Command::new(paths::root().join(format!("shared/klp/{name}/check")));
    command
        .args(make.get_args())
        .arg(kbuild::prebuilt(&kernel)?);
    for (name, value) in make.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    ktap_cases(&mut command, log)
}

/// The cases of a command that prints KTAP.
fn ktap_cases(command: &mut Command, log: &Path) -> Result<Vec<Case>> {
    let (status, lines) = process::transcript(command.current_dir(paths::root()), log)?;
    let end = Ok(status.code().unwrap_or(1));
    Ok(guest::cases(&lines.join("\n"), &end))
}

/// The workspace's own unit tests, one case each.
fn cargo_test(log: &Path) -> Result<Vec<Case>> {
    let mut command = cargo::command();
    command.args(["test", "--no-fail-fast", "--color", "never"]);
    let (status, lines) = process::transcript(command.current_dir(paths::root()), log)?;
    Ok(libtest_cases(&lines, status.success()))
}

/// Read what Rust's test harness prints.
fn libtest_cases(lines: &[String], success: bool) -> Vec<Case> {
    let result = pattern(r"^test (.+) \.\.\. (ok|ignored(?:, (.*))?)?");
    // Begins what a failed test said.
    let said = pattern(r"^---- (.+) stdout ----$");
    let mut cases: Vec<Case> = Vec::new();
    let mut failing = None;
    for line in lines {
        if let Some(found) = result.captures(line) {
            let verdict = match found.get(2).map(|word| word.as_str()) {
                Some("ok") => Verdict::Pass,
                Some(_) => Verdict::Skip(found.get(3).map_or("ignored", |w| w.as_str()).to_owned()),
                None => Verdict::Fail,
            };
            cases.push(Case::new(&found[1], verdict));
        } else if let Some(found) = said.captures(line) {
            failing = cases.iter().position(|case| case.name == found[1]);
        } else if line == "failures:" || line.starts_with("test result:") {
            failing = None;
        } else if let Some(at) = failing {
            cases[at].said.push(line.clone());
        }
    }
    if !success && !cases.iter().any(Case::is_failed) {
        // It did not build, or died.
        cases.push(Case::failed("cargo test", last(lines, 40)));
    }
    if cases.is_empty() {
        cases.push(Case::failed("cargo test", vec!["no test ran".to_owned()]));
    }
    cases
}

/// Every shell file of the checkout, one case each.
fn shellcheck(log: &Path) -> Result<Vec<Case>> {
    let root = paths::root();
    let mut cases = Vec::new();
    for file in tidy::shell_files(&root)? {
        let name = file.strip_prefix(&root).unwrap_or(&file).to_path_buf();
        let mut command = Command::new("shellcheck");
        command
            .args(["--external-sources", "--source-path=SCRIPTDIR"])
            .arg(&name);
        cases.push(command_case(&name.to_string_lossy(), &mut command, log)?);
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_output_becomes_cases() {
        let lines: Vec<String> = "running 3 tests\ntest a::b ... ok\ntest c ... FAILED\n\
             test d ... ignored, slow\n\nfailures:\n\n---- c stdout ----\nboom at x.rs:1\n\nfailures:\n    c\n"
            .lines()
            .map(str::to_owned)
            .collect();
        let cases = libtest_cases(&lines, false);
        assert_eq!(cases.len(), 3);
        assert_eq!(cases[0].verdict, Verdict::Pass);
        assert_eq!(cases[1].verdict, Verdict::Fail);
        assert!(cases[1].said.contains(&"boom at x.rs:1".to_owned()));
        assert_eq!(cases[2].verdict, Verdict::Skip("slow".to_owned()));
        let broken = libtest_cases(&["error: could not compile".to_owned()], false);
        assert_eq!(broken[0].verdict, Verdict::Fail);
        assert_eq!(libtest_cases(&[], true)[0].verdict, Verdict::Fail);
    }
}

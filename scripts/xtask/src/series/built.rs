// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The series, patch by patch, in a kernel that is built of it, booted and tested.

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;

use super::Tree;
use crate::error::Failure;
use crate::kbuild;
use crate::kernel::own;
use crate::kernel::tree;
use crate::kernel::Kernel;
use crate::ktap;
use crate::ktap::Case;
use crate::oops;
use crate::paths;
use crate::process;
use crate::test::guest;
use crate::test::guest::How;
use crate::test::host::function_case;
use crate::test::script;
use crate::test::script::Script;

/// What the kernel is configured by, and what it has only when it has the series: the first patches have no examples.
const FRAGMENTS: [&str; 3] = [
    "selftests/config",
    "scripts/xtask/vm.config",
    "scripts/series/config",
];
const WHOLE: &str = "CONFIG_SAMPLE_RUST_LIVEPATCH=m\nCONFIG_RUST_KERNEL_DOCTESTS=y\n";

/// The kernel's folders with modules for the tests, and its own tests.
const MODULES: [&str; 2] = ["samples/livepatch", "samples/rust"];
const SELFTESTS: &str = "tools/testing/selftests/livepatch";

/// Of the examples in the kernel crate only those of the series become tests: the word is one of `rust/Makefile`.
const EXAMPLES: &str = "rustdoc_test_kernel_quiet=--test-args=livepatch >/dev/null";

/// A case for each patch, then those of the guests.
pub fn cases(series: &Tree, count: usize) -> Result<Vec<Case>> {
    let fragments = own::fragments(&FRAGMENTS)?;
    let mut cases = Vec::new();
    series.git(&["checkout", "--quiet", "--force", "base"])?;
    own::configure(&series.dir, &series.linux, &[], &fragments)?;
    for nr in 1..=count {
        let commit = format!("applied~{}", count - nr);
        series.git(&["checkout", "--quiet", "--force", &commit])?;
        let name = format!("patch {nr} builds without a warning of rustc and clippy");
        cases.push(function_case(&name, build(series, "prepare"))?);
    }
    own::configure(&series.dir, &series.linux, &[], &(fragments + WHOLE))?;
    cases.push(function_case(
        "the kernel builds",
        build(series, "bzImage modules"),
    )?);
    cases.push(function_case(
        "rustdoc has nothing to say",
        build(series, "rustdoc"),
    )?);
    if !cases.iter().any(Case::is_failed) {
        let kernel = tree::check(&series.dir.join("build"))?;
        publish(&kernel)?;
        let mut log = String::new();
        for script in scripts(series)? {
            let how = How {
                debug: false,
                bless: false,
                live: false,
            };
            let name = format!("series {}", script.name);
            let (suite, trouble) = guest::run(&kernel, &script, &name, how)?;
            print!("{trouble}");
            cases.extend(suite.cases);
            log = paths::read_lossy(&suite.log);
        }
        cases.extend(examples(&log));
    }
    Ok(cases)
}

/// What KUnit has logged of the examples, at boot.
fn examples(log: &str) -> Vec<Case> {
    let log: Vec<&str> = log.lines().map(oops::message).collect();
    let mut report = ktap::parse(&log.join("\n"));
    let of_series = |case: &Case| case.name.contains("rust_doctest_kernel_livepatch");
    report.cases.retain(of_series);
    if report.cases.is_empty() {
        report.problems.push("there are none".to_owned());
    }
    let name = "KUnit runs the examples";
    report
        .cases
        .push(Case::from_complaints(name, report.problems));
    report.cases
}

/// `make`, with clippy for rustc; a warning is an error.
fn build(series: &Tree, targets: &str) -> Result<()> {
    let log = series.dir.join("build.log");
    let mut make = own::make(&series.dir, &series.linux, &["CLIPPY=1", EXAMPLES]);
    let (status, said) = process::transcript(make.args(targets.split(' ')), &log)?;
    let bad = |line: &&String| {
        line.starts_with("warning") || line.contains("error") || line.contains("***")
    };
    let bad: Vec<&str> = said.iter().filter(bad).map(String::as_str).collect();
    if status.success() && !bad.iter().any(|line| line.starts_with("warning")) {
        return Ok(());
    }
    let log = log.display();
    anyhow::bail!(Failure::Work(format!("log: {log}\n{}", bad.join("\n"))))
}

/// Puts the modules where a guest's scripts look for them.
fn publish(kernel: &Kernel) -> Result<()> {
    let modules = kbuild::modules_dir(kernel);
    fs::create_dir_all(&modules)?;
    for folder in MODULES {
        for path in paths::files_in(&kernel.build.join(folder), "ko")? {
            fs::copy(&path, modules.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// Ours of the kernel's samples, and the one that the series adds.
fn scripts(series: &Tree) -> Result<Vec<Script>> {
    let added = series.linux.join(SELFTESTS).to_string_lossy().into_owned();
    let exports = [
        ("kernel-samples", vec![("KLP_PREFIX", "rust_".to_owned())]),
        (
            "upstream-rust",
            vec![
                ("KLP_UPSTREAM", added),
                ("KLP_CASES", "test-rust".to_owned()),
            ],
        ),
    ];
    let all = script::all(&paths::root())?;
    let script = |(name, exports)| {
        let script = all.iter().find(|script| script.name == name);
        let mut script = script.context(name)?.clone();
        script.exports = exports;
        Ok(script)
    };
    exports.into_iter().map(script).collect()
}

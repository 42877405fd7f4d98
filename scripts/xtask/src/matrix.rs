// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask matrix`: which suites pass on which kernels.
//!
//! Each kernel has a file of its own below `target/matrix`, in the form of `test --json`, and one for `--junit`. What does not
//! run this time keeps its last results, so kernels may be tried one by one, on as many machines, and the files be put together.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;

use crate::cli::KernelArgs;
use crate::cli::MatrixArgs;
use crate::cli::TestArgs;
use crate::error::Failure;
use crate::kernel;
use crate::ktap::Verdict;
use crate::paths;
use crate::results::Run;
use crate::results::Suite;
use crate::test;

/// What the book includes.
const PAGE: &str = "book/src/reference/kernels-table.md";

/// `cargo xtask matrix [KERNEL…]`.
pub fn run(args: &KernelArgs, options: &MatrixArgs) -> Result<()> {
    let folder = paths::target().join("matrix");
    fs::create_dir_all(&folder)?;
    let suites = test::choose(&test::of_kernel()?, &options.suites)?;
    let mut worst = None;
    for kernel in &options.kernels {
        let file = folder.join(format!("{kernel}.json"));
        let tests = TestArgs {
            patterns: suites.clone(),
            json: None,
            junit: Some(file.with_extension("xml")),
            bless: false,
        };
        let run = test::suites(&args.with(kernel), &tests)?;
        run.remember(&file)?;
        worst = run.worst().or(worst);
    }

    let mut runs = Vec::new();
    for path in paths::files_in(&folder, "json")? {
        let run: Run = serde_json::from_slice(&fs::read(&path)?)
            .with_context(|| format!("{} holds no results", path.display()))?;
        let release = path.file_stem().unwrap_or_default().to_string_lossy();
        runs.push((release.into_owned(), run.suites));
    }
    runs.sort_by_key(|(release, _)| (kernel::numbers(release), release.clone()));
    let text = table(&runs);
    print!("{text}");
    if options.book {
        let text = format!("<!-- Written by `cargo xtask matrix --book`. -->\n\n{text}");
        paths::write_whole(&paths::root().join(PAGE), &text)?;
    }
    worst.map_or(Ok(()), |failure: Failure| Err(failure.into()))
}

/// Kernel by suite, then what was skipped or failed, and why.
fn table(runs: &[(String, Vec<Suite>)]) -> String {
    let names: BTreeSet<&str> = runs
        .iter()
        .flat_map(|(_, suites)| suites.iter().map(|suite| suite.name.as_str()))
        .collect();
    let mut text = "| suite".to_owned();
    for (release, _) in runs {
        let _ = write!(text, " | {release}");
    }
    text += " |\n|---";
    text += &"|---:".repeat(runs.len());
    text += "|\n";
    for name in names {
        let _ = write!(text, "| {name}");
        for (_, suites) in runs {
            let suite = suites.iter().find(|suite| suite.name == name);
            let _ = write!(text, " | {}", suite.map_or("–".to_owned(), cell));
        }
        text += " |\n";
    }
    for (release, suites) in runs {
        let mut lines = BTreeSet::new();
        for suite in suites {
            for case in &suite.cases {
                let why = match &case.verdict {
                    Verdict::Pass => continue,
                    Verdict::Fail => "failed",
                    Verdict::Skip(why) => why,
                };
                lines.insert(format!("- {}: {}: {why}\n", suite.name, case.name));
            }
        }
        if !lines.is_empty() {
            let _ = write!(text, "\n{release}:\n\n");
            text.extend(lines);
        }
    }
    text
}

/// `12`, `11, 1 skipped`, `10, 1 skipped, 1 failed`.
fn cell(suite: &Suite) -> String {
    let count = suite.count();
    let mut text = count.passed.to_string();
    for (number, word) in [(count.skipped, "skipped"), (count.failed, "**failed**")] {
        if number > 0 {
            let _ = write!(text, ", {number} {word}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Case;

    #[test]
    fn the_table_tells_numbers_and_reasons() {
        let suite = |name: &str, cases| Suite {
            name: name.to_owned(),
            cases,
            ..Suite::default()
        };
        let pass = Case::new("a", Verdict::Pass);
        let skip = Case::new("b", Verdict::Skip("mended there".to_owned()));
        let runs = [
            (
                "7.2".to_owned(),
                vec![suite("x", vec![pass.clone(), pass.clone()])],
            ),
            (
                "7.3".to_owned(),
                vec![
                    suite("x", vec![pass.clone(), skip]),
                    suite("y", vec![Case::failed("c", vec![])]),
                ],
            ),
        ];
        assert_eq!(
            table(&runs),
            "| suite | 7.2 | 7.3 |\n|---|---:|---:|\n| x | 2 | 1, 1 skipped |\n| y | – | 0, 1 **failed** |\n\
             \n7.3:\n\n- x: b: mended there\n- y: c: failed\n"
        );
    }
}

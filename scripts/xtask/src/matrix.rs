// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask matrix`: which suites pass on which kernels.
//!
//! Each kernel has a file of its own below `target/matrix`, in the form of `test --json`, and one for `--junit`. The table is the
//! book's, and what these files hold goes over it: kernels may be tried one by one, on as many machines.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
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

/// What the book includes, and this begins with.
const PAGE: &str = "book/src/reference/kernels-table.md";

const NOT_RUN: &str = "–";

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

    let page = paths::root().join(PAGE);
    let mut table = Table::read(&paths::read_lossy(&page));
    for path in paths::files_in(&folder, "json")? {
        let run: Run = serde_json::from_slice(&fs::read(&path)?)
            .with_context(|| format!("{} holds no results", path.display()))?;
        let release = path.file_stem().unwrap_or_default().to_string_lossy();
        run.suites
            .iter()
            .for_each(|suite| table.enter(&release, suite));
    }
    let text = table.to_string();
    print!("{text}");
    if options.book {
        let text = format!("<!-- Written by `cargo xtask matrix --book`. -->\n\n{text}");
        paths::write_whole(&page, &text)?;
    }
    worst.map_or(Ok(()), |failure: Failure| Err(failure.into()))
}

/// Kernel by suite, then what was skipped or failed, and why.
#[derive(Default)]
struct Table {
    kernels: BTreeMap<Kernel, BTreeMap<String, String>>,
    reasons: BTreeSet<(Kernel, String)>,
}

/// A release, by its numbers first.
type Kernel = (Vec<u32>, String);

fn kernel_of(release: &str) -> Kernel {
    (kernel::numbers(release), release.to_owned())
}

impl Table {
    /// The one that was written before: of other kernels, and on other machines.
    fn read(text: &str) -> Table {
        let mut table = Table::default();
        let mut kernels = Vec::new();
        for line in text.lines() {
            let mut cells = line.split(" | ").map(|cell| cell.trim_matches(['|', ' ']));
            if let Some(suite) = line.strip_prefix("| ").and_then(|_| cells.next()) {
                match suite {
                    "suite" => kernels = cells.map(kernel_of).collect(),
                    suite => {
                        for (kernel, cell) in
                            kernels.iter().zip(cells).filter(|(_, c)| *c != NOT_RUN)
                        {
                            table.set(kernel, suite, cell.to_owned());
                        }
                    }
                }
            } else if let Some(release) = line.strip_suffix(':') {
                kernels = vec![kernel_of(release)];
            } else if line.starts_with("- ") {
                table.reasons.insert((kernels[0].clone(), line.to_owned()));
            }
        }
        table
    }

    fn set(&mut self, kernel: &Kernel, suite: &str, cell: String) {
        let cells = self.kernels.entry(kernel.clone()).or_default();
        cells.insert(suite.to_owned(), cell);
    }

    /// What was seen now takes the place of what was seen before.
    fn enter(&mut self, release: &str, suite: &Suite) {
        let kernel = kernel_of(release);
        let begin = format!("- {}: ", suite.name);
        self.reasons
            .retain(|(of, line)| *of != kernel || !line.starts_with(&begin));
        for case in &suite.cases {
            let why = match &case.verdict {
                Verdict::Pass => continue,
                Verdict::Fail => "failed",
                Verdict::Skip(why) => why,
            };
            let line = format!("{begin}{}: {why}", case.name);
            self.reasons.insert((kernel.clone(), line));
        }
        self.set(&kernel, &suite.name, cell(suite));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: BTreeSet<&String> = self.kernels.values().flat_map(BTreeMap::keys).collect();
        write!(f, "| suite")?;
        for (_, release) in self.kernels.keys() {
            write!(f, " | {release}")?;
        }
        writeln!(f, " |\n|---{}|", "|---:".repeat(self.kernels.len()))?;
        for name in names {
            write!(f, "| {name}")?;
            for cells in self.kernels.values() {
                write!(f, " | {}", cells.get(name).map_or(NOT_RUN, String::as_str))?;
            }
            writeln!(f, " |")?;
        }
        let mut told = None;
        for (kernel, reason) in &self.reasons {
            if told.replace(kernel) != Some(kernel) {
                write!(f, "\n{}:\n\n", kernel.1)?;
            }
            writeln!(f, "{reason}")?;
        }
        Ok(())
    }
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
        let mut table = Table::default();
        table.enter("7.2", &suite("x", vec![pass.clone(), pass.clone()]));
        table.enter("7.10", &suite("y", vec![Case::failed("c", vec![])]));
        table.enter("7.10", &suite("x", vec![skip]));
        let text = "| suite | 7.2 | 7.10 |\n|---|---:|---:|\n| x | 2 | 0, 1 skipped |\n| y | – | 0, 1 **failed** |\n\
             \n7.10:\n\n- x: b: mended there\n- y: c: failed\n";
        assert_eq!(table.to_string(), text);
        // What was written before is kept, but for what was run again.
        let mut table = Table::read(text);
        assert_eq!(table.to_string(), text);
        table.enter("7.10", &suite("y", vec![pass]));
        let text = text.replace("0, 1 **failed**", "1");
        assert_eq!(table.to_string(), text.replace("- y: c: failed\n", ""));
    }
}

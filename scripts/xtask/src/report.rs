// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is told of a run: a guest that came to a bad end, the results of the tests, their files.

use std::fmt::Write as _;
use std::path::Path;

use console::style;

use crate::kernel::Kernel;
use crate::ktap::Verdict;
use crate::oops;
use crate::progress;
use crate::results::Count;
use crate::results::Run;
use crate::results::Suite;
use crate::vm::End;
use crate::vm::Outcome;

/// How many lines of a kernel log are shown when something went wrong.
pub const TAIL: usize = 30;

/// What went wrong in a guest, for people: the kernel's complaints with source lines, or the last
/// lines of its log, and where the whole log is. Empty for a guest that is well.
pub fn guest_trouble(kernel: &Kernel, modules: &Path, outcome: &Outcome) -> String {
    let log = outcome.console_text();
    let mut text = String::new();
    for complaint in oops::complaints(&log) {
        let _ = writeln!(text, "{}", style("The kernel complains:").red().bold());
        for line in oops::symbolize(kernel, modules, &complaint.lines) {
            let _ = writeln!(text, "    {line}");
        }
    }
    match &outcome.end {
        End::TimedOut => {
            let _ = writeln!(
                text,
                "{} after {:.0} s. The last lines of its log:",
                style("The guest was stopped").red().bold(),
                outcome.elapsed.as_secs_f64()
            );
            push_tail(&mut text, &log);
        }
        End::Broken(_) => {
            let _ = writeln!(
                text,
                "{} The last lines of its log:",
                style("The guest did not run.").red().bold()
            );
            push_tail(&mut text, &log);
        }
        End::Panicked if text.is_empty() => push_tail(&mut text, &log),
        End::Panicked | End::Exited(_) => {}
    }
    if !text.is_empty() {
        let _ = writeln!(text, "The whole log: {}", outcome.console.display());
    }
    text
}

fn push_tail(text: &mut String, log: &str) {
    for line in oops::tail(log, TAIL) {
        let _ = writeln!(text, "    {line}");
    }
}

/// The end of a guest's kernel log, for a test that failed on a kernel that is well.
pub fn log_tail(outcome: &Outcome) -> String {
    let log = outcome.console_text();
    let mut text = format!(
        "  The last lines of the kernel's log ({}):\n",
        outcome.console.display()
    );
    push_tail(&mut text, &log);
    text
}

/// A case that has just ended, while others of its suite still run.
pub fn live(suite: &str, line: &str) {
    let line = if line.starts_with("not ok") {
        style(line).red()
    } else {
        style(line).dim()
    };
    progress::say(&format!("     {suite}: {line}\n"));
}

/// A suite that has ended: one line when it passed, all that helps when it did not.
pub fn suite(suite: &Suite) -> String {
    let count = suite.count();
    let word = if count.failed > 0 {
        style("FAIL").red().bold()
    } else if count.passed == 0 {
        style("SKIP").yellow().bold()
    } else {
        style("pass").green().bold()
    };
    let mut text = format!(
        "{word} {:<20} {}, {:.1} s{}\n",
        suite.name,
        numbers(count),
        suite.milliseconds as f64 / 1000.0,
        suite
            .started
            .map_or(String::new(), |started| format!(", {started} processes"))
    );
    for case in &suite.cases {
        match &case.verdict {
            Verdict::Fail => {
                let _ = writeln!(text, "  {} {}", style("failed:").red().bold(), case.name);
                for line in &case.said {
                    let _ = writeln!(
                        text,
                        "    {}",
                        line.trim_start().strip_prefix("# ").unwrap_or(line)
                    );
                }
            }
            Verdict::Skip(why) => {
                let why = if why.is_empty() {
                    "no reason given"
                } else {
                    why
                };
                let _ = writeln!(
                    text,
                    "  {} {}: {why}",
                    style("skipped:").yellow(),
                    case.name
                );
            }
            Verdict::Pass => {}
        }
    }
    if count.failed > 0 {
        let _ = writeln!(text, "  log: {}", suite.log.display());
    }
    text
}

/// The end of a run. Its last line is for programs, too.
pub fn summary(run: &Run) -> String {
    let mut text = String::new();
    let count = run.count;
    if count.failed > 0 {
        let _ = writeln!(text, "\n{}", style("Failed:").red().bold());
        for suite in &run.suites {
            for case in suite.cases.iter().filter(|c| c.verdict == Verdict::Fail) {
                let _ = writeln!(text, "  {}: {}", suite.name, case.name);
            }
        }
    }
    let in_guests = run.suites.iter().filter(|suite| suite.kernel.is_some());
    let kernel_cases: usize = in_guests.clone().map(|suite| suite.cases.len()).sum();
    let _ = write!(text, "\n{:.1} s", run.milliseconds as f64 / 1000.0);
    if let Some(release) = &run.kernel {
        let _ = write!(
            text,
            "; {kernel_cases} of the cases in {} guests on Linux {release}",
            in_guests.count()
        );
    }
    let _ = writeln!(text, "\n{}", numbers(count));
    text
}

/// `N passed, N failed`, and skipped ones if there are any.
fn numbers(count: Count) -> String {
    let mut text = format!("{} passed, {} failed", count.passed, count.failed);
    if count.skipped > 0 {
        let _ = write!(text, ", {} skipped", count.skipped);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Case;
    use std::time::Duration;

    #[test]
    fn the_last_line_counts() {
        console::set_colors_enabled(false);
        let cases = vec![
            Case::new("a", Verdict::Pass),
            Case::failed("b", vec!["# -old".to_owned()]),
            Case::new("c", Verdict::Skip("no veth".to_owned())),
        ];
        let one = Suite::new("x", Duration::from_secs(1), cases, "/l".into());
        let told = suite(&one);
        assert!(told.starts_with("FAIL x "), "{told}");
        assert!(told.contains("  failed: b\n    -old\n"), "{told}");
        assert!(told.contains("  skipped: c: no veth\n"), "{told}");
        let run = Run::new(None, Duration::from_secs(1), vec![one]);
        let text = summary(&run);
        assert_eq!(text.lines().last(), Some("1 passed, 1 failed, 1 skipped"));
        let none = Run::new(None, Duration::ZERO, vec![]);
        assert_eq!(summary(&none).lines().last(), Some("0 passed, 0 failed"));
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is told of a run: a guest that came to a bad end, the results of the tests, their files.

use std::fmt::Write as _;

use console::style;

use crate::error::Failure;
use crate::kernel::Kernel;
use crate::ktap::Verdict;
use crate::oops;
use crate::progress;
use crate::results::Count;
use crate::results::Run;
use crate::results::Suite;
use crate::vm::Outcome;

/// How many lines of a kernel log are shown when something went wrong.
pub const TAIL: usize = 30;

/// What went wrong in a guest, for people: the kernel's complaints with source lines, or the last
/// lines of its log, and where the whole log is. Empty for a guest that is well.
pub fn guest_trouble(kernel: &Kernel, outcome: &Outcome) -> String {
    let log = outcome.console_text();
    let mut text = String::new();
    for complaint in oops::complaints(&log) {
        let _ = writeln!(text, "{}", style("The kernel complains:").red().bold());
        for line in oops::symbolize(kernel, &complaint.lines) {
            let _ = writeln!(text, "    {line}");
        }
    }
    let said = match &outcome.end {
        Err(Failure::TimedOut) => {
            let seconds = outcome.elapsed.as_secs_f64();
            let stopped = style("The guest was stopped").red().bold();
            format!("{stopped} after {seconds:.0} s. The last lines of its log:\n")
        }
        Err(Failure::Host(_)) => {
            let broken = style("The guest did not run.").red().bold();
            format!("{broken} The last lines of its log:\n")
        }
        _ => String::new(),
    };
    if !said.is_empty() || text.is_empty() && outcome.end.is_err() {
        text += &said;
        push_tail(&mut text, &log);
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

/// The end of a guest's kernel log in `case`, if its script has run that, for a test that failed on a kernel that is well.
pub fn log_tail(outcome: &Outcome, case: &str) -> String {
    let log = outcome.console_text();
    // functions.sh logs where a case begins.
    let begins = |line: &&str| line.contains("]: case ");
    let mut of_case = log
        .lines()
        .skip_while(|line| !begins(line) || !line.ends_with(case));
    let what = of_case.next().map_or("", |_| " in that case");
    let part: Vec<&str> = match what {
        "" => log.lines().collect(),
        _ => of_case.take_while(|line| !begins(line)).collect(),
    };
    let mut text = format!(
        "  The last lines of the kernel's log{what} ({}):\n",
        outcome.console.display()
    );
    push_tail(&mut text, &part.join("\n"));
    text
}

/// A case that has just ended, while others of its suite still run.
pub fn live(suite: &str, line: &str) {
    let line = match line.starts_with("not ok") {
        true => style(line).red(),
        false => style(line).dim(),
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
    let seconds = suite.milliseconds as f64 / 1000.0;
    let mut text = format!(
        "{word} {:<20} {}, {seconds:.1} s",
        suite.name,
        numbers(count)
    );
    if let Some(started) = suite.started {
        let _ = write!(text, ", {started} processes");
    }
    text.push('\n');
    for case in &suite.cases {
        match &case.verdict {
            Verdict::Fail => {
                let _ = writeln!(text, "  {} {}", style("failed:").red().bold(), case.name);
                for line in &case.said {
                    let line = line.trim_start().strip_prefix("# ").unwrap_or(line);
                    let _ = writeln!(text, "    {line}");
                }
            }
            Verdict::Skip(why) => {
                let why = Some(why.as_str()).filter(|why| !why.is_empty());
                let why = why.unwrap_or("no reason given");
                let skipped = style("skipped:").yellow();
                let _ = writeln!(text, "  {skipped} {}: {why}", case.name);
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
            for case in suite.cases.iter().filter(|case| case.is_failed()) {
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

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is told of a run: a guest that came to a bad end, the results of the tests, their files.

use std::fmt::Write as _;
use std::path::Path;

use console::style;

use crate::kernel::Kernel;
use crate::oops;
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

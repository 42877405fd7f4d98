// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The suites that run in guests, and what their ends mean.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;

use super::script::Script;
use crate::error::Failure;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::ktap;
use crate::ktap::Verdict;
use crate::oops;
use crate::paths;
use crate::process::quote;
use crate::report;
use crate::results::Case;
use crate::results::Suite;
use crate::vm;
use crate::vm::Clock;
use crate::vm::End;
use crate::vm::Guest;

/// The case that each guest adds to those of its script.
const LOG_CASE: &str = "the kernel does not complain";

/// The same of a script that says `panic=`.
const DEATH_CASE: &str = "the kernel dies as expected";

/// What a test script may take when `selftests/settings` says nothing.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Booting, and a machine that does other things as well, on top of a script's own time-out.
const BOOT_MARGIN: Duration = Duration::from_secs(120);

/// Asks for all that there is, however long it takes.
pub const FULL: &str = "CI_FULL";

/// What the guest prints after a script: how many processes it has started.
const STARTED_MARK: &str = "@xtask-processes-started=";

/// Asked for all that there is?
pub fn is_full() -> bool {
    std::env::var(FULL).is_ok_and(|value| value == "1")
}

/// How a script is run.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// On the debug kernel, whose last words are its own.
    pub debug: bool,
    /// Let the script write its transcripts anew.
    pub bless: bool,
    /// Tell of each case as it ends.
    pub live: bool,
}

/// Run a script in a guest of its own: its suite, and what to tell of the guest itself.
pub fn run(kernel: &Kernel, script: &Script, name: &str, how: How) -> Result<(Suite, String)> {
    let expected = paths::root().join("selftests/expected");
    let mut guest = guest(kernel, script, name);
    if how.bless {
        guest.script.insert_str(0, "export KLP_UPDATE_EXPECTED=1\n");
        guest.writable.push(expected.clone());
    }
    let outcome = vm::run(kernel, &guest, |line| {
        let line = line.trim_start();
        if how.live && (line.starts_with("ok ") || line.starts_with("not ok ")) {
            report::live(name, line);
        }
    })?;
    let (output, started) = take_started(&outcome.output);
    let log = outcome.console_text();
    let complaints = oops::complaints(&log);
    let mut found;
    let mut trouble = String::new();
    let dead = outcome.end == Err(Failure::GuestPanic);
    let as_expected = dead
        && script.panic.as_ref().is_some_and(|panic| {
            // The first of them: what comes before is no part of the expected death.
            let mut lines = complaints.iter().take(1).flat_map(|first| &first.lines);
            lines.any(|line| line.contains(panic))
        });
    if as_expected {
        // Those that it reported before, and that one.
        found = ktap::parse(output).cases;
        found.push(Case::new(DEATH_CASE, Verdict::Pass));
        // The transcript has registers of x86-64 in it.
        if !how.debug && !kernel.is_arm64() {
            let file = expected.join(format!("{}.log", script.stem));
            found.push(last_words_case(&file, &log, how.bless)?);
        }
    } else {
        found = cases(output, &outcome.end);
        let skipped = found.iter().all(Case::is_skipped);
        let titles = complaints.iter().map(|c| c.title.clone()).collect();
        found.push(match &script.panic {
            Some(_) if !skipped => Case::failed(DEATH_CASE, titles),
            _ if complaints.is_empty() && !dead => Case::new(LOG_CASE, Verdict::Pass),
            _ => Case::failed(LOG_CASE, titles),
        });
        trouble = report::guest_trouble(kernel, &outcome);
    }
    if how.live {
        // Those that no script has printed.
        let printed = ktap::parse(&outcome.output).cases.len();
        for (nr, case) in found.iter().enumerate().skip(printed) {
            let ok = if case.is_failed() { "not ok" } else { "ok" };
            report::live(name, &format!("{ok} {} {}", nr + 1, case.name));
        }
    }
    if let (Some(failed), true) = (
        found.iter().find(|case| case.is_failed()),
        outcome.end.is_ok(),
    ) {
        trouble += &report::log_tail(&outcome, &failed.name);
    }
    let mut suite = Suite::new(name, outcome.elapsed, found, outcome.console.clone());
    suite.kernel = Some(kernel.release.clone());
    suite.started = started;
    suite.failure = outcome.end.err().filter(|_| !as_expected);
    Ok((suite, trouble))
}

/// The suite of a script that was not run.
pub fn none(kernel: &Kernel, name: &str, case: Case) -> Suite {
    let mut suite = Suite::new(name, Duration::ZERO, vec![case], PathBuf::new());
    suite.kernel = Some(kernel.release.clone());
    suite
}

/// The guest of a script, with all that it asks for.
fn guest(kernel: &Kernel, script: &Script, name: &str) -> Guest {
    let mut guest = Guest::new(&format!("test-{}", name.replace([' ', '/'], "-")), "");
    guest.clock = script.clock;
    guest.nics = script.nics.unwrap_or(0);
    guest.cpus = script.cpus.unwrap_or(match script.clock {
        Clock::Virtual => 1,
        Clock::Real => 2,
    });
    guest.memory_mib = script.memory_mib.unwrap_or(guest.memory_mib);
    guest.append = script.append.clone();
    let settings = paths::root().join("selftests/settings");
    guest.timeout = script.timeout.unwrap_or_else(|| script_timeout(&settings)) + BOOT_MARGIN;

    let text = &mut guest.script;
    if script.package.is_some() {
        let programs = paths::target().join("debug");
        *text += &format!("PATH={}:$PATH\n", quote(&programs.to_string_lossy()));
    }
    let mut export =
        |name: &str, value: &str| *text += &format!("export {name}={}\n", quote(value));
    export(
        "KLP_MODULES_DIR",
        &kbuild::modules_dir(kernel).to_string_lossy(),
    );
    // A script may kill the kernel that it runs on, if that is nobody's.
    export("KLP_GUEST", "1");
    if let Some(count) = script.shards {
        export("KLP_SHARD", &format!("{}/{count}", script.shard));
    }
    for (name, value) in &script.exports {
        export(name, value);
    }
    // What selects cases for the script selects them in the guest as well.
    for (name, value) in std::env::vars().filter(|(name, _)| is_for_scripts(name)) {
        export(&name, &value);
    }
    // A guest that does not see the cache sees nothing of kernel and modules: no reason for a script to skip itself.
    *text += &format!(
        "[ -r {0} ] || {{ printf 'KTAP version 1\\nBail out! no %s in the guest\\n' {0}; exit 1; }}\n",
        quote(&kernel.build.join(".config").to_string_lossy())
    );
    *text += &format!(
        "started() {{ while read -r key number; do [ \"$key\" != processes ] || echo \"$number\"; done < /proc/stat; }}\n\
         before=$(started)\n\
         bash {}\n\
         status=$?\n\
         echo \"{STARTED_MARK}$(($(started) - before))\"\n\
         exit $status",
        quote(&script.path.to_string_lossy())
    );
    guest
}

/// Take the number of processes off the end of what the guest printed.
fn take_started(output: &str) -> (&str, Option<u64>) {
    match output.rsplit_once(STARTED_MARK) {
        None => (output, None),
        Some((output, number)) => (output, number.trim().parse().ok()),
    }
}

/// Does this variable of the environment choose what a script does? The folder of the modules is not the user's choice.
fn is_for_scripts(variable: &str) -> bool {
    variable == FULL
        || (variable.starts_with("KLP_")
            && !["KLP_MODULES_DIR", "KLP_UPDATE_EXPECTED", "KLP_GUEST"].contains(&variable))
}

/// `timeout=` of kselftest's settings file, else our own.
fn script_timeout(settings: &Path) -> Duration {
    paths::read_lossy(settings)
        .lines()
        .find_map(|line| line.strip_prefix("timeout=")?.trim().parse().ok())
        // Zero is kselftest's word for none; a guest always has one.
        .filter(|&seconds| seconds > 0)
        .map_or(TIMEOUT, Duration::from_secs)
}

/// The cases that a script reported, and what its end says of them.
pub fn cases(output: &str, end: &End) -> Vec<Case> {
    let report = ktap::parse(output);
    if report.cases.is_empty() {
        let why = match end {
            Ok(0) => report.skipped,
            Ok(ktap::SKIP_STATUS) => {
                let last = report.rest.last().map_or("no reason given", String::as_str);
                Some(report.skipped.unwrap_or(last.to_owned()))
            }
            _ => None,
        };
        if let Some(why) = why {
            return vec![Case::new("all of it", Verdict::Skip(why))];
        }
    }
    let mut cases = report.cases;
    let mut wrong = report.problems;
    let failed = cases.iter().any(Case::is_failed);
    match end {
        Ok(0) if failed => wrong.push("exit status 0 in spite of failed cases".to_owned()),
        Ok(0) => {}
        // Not all of them: the library's own last case passes also when each before was skipped.
        Ok(ktap::SKIP_STATUS) if cases.iter().any(Case::is_skipped) => {}
        Ok(_) if failed => {}
        Ok(status) => wrong.push(format!("exit status {status}")),
        Err(failure) => wrong.push(failure.to_string()),
    }
    if !wrong.is_empty() {
        let last = report.rest.len().saturating_sub(20);
        wrong.extend_from_slice(&report.rest[last..]);
        cases.push(Case::failed("the script comes to its end", wrong));
    }
    cases
}

/// Compares the story of a guest that died with its transcript, as `check_transcript` does for one that lives.
fn last_words_case(file: &Path, log: &str, bless: bool) -> Result<Case> {
    const NAME: &str = "it dies as in the transcript";
    let seen = oops::last_words(log);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if bless {
        fs::write(file, seen)?;
        let why = format!("{name} written, not compared");
        return Ok(Case::new(NAME, Verdict::Skip(why)));
    }
    let expected = paths::read_lossy(file);
    if oops::same_last_words(&seen, &expected) {
        return Ok(Case::new(NAME, Verdict::Pass));
    }
    let diff = similar::TextDiff::from_lines(&expected, &seen);
    let diff = diff.unified_diff().header(&name, "seen").to_string();
    let lines = diff.lines().map(str::to_owned).collect();
    Ok(Case::failed(NAME, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(output: &str, end: End) -> Vec<(String, Verdict)> {
        cases(output, &end)
            .into_iter()
            .map(|case| (case.name, case.verdict))
            .collect()
    }

    #[test]
    fn how_a_guest_ends_is_a_result() {
        let good = "KTAP version 1\n1..1\nok 1 a\n";
        assert_eq!(verdicts(good, Ok(0)).len(), 1);
        for end in [Ok(1), Err(Failure::GuestPanic), Err(Failure::TimedOut)] {
            let cases = verdicts(good, end.clone());
            assert_eq!(cases.len(), 2, "{end:?}");
            assert_eq!(cases[1].1, Verdict::Fail, "{end:?}");
        }
        let bad = "KTAP version 1\n1..1\nnot ok 1 a\n";
        assert_eq!(verdicts(bad, Ok(1)).len(), 1);
        assert_eq!(verdicts(bad, Ok(0)).len(), 2);
        assert_eq!(verdicts("", Ok(0))[0].1, Verdict::Fail);
    }

    #[test]
    fn last_words_are_compared_and_blessed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.log");
        let log = "[    1.0] % insmod x.ko\n[    1.1] Oops: int3: 0000 [#1] SMP\n";
        let verdict = |bless| last_words_case(&file, log, bless).unwrap().verdict;
        assert_eq!(verdict(false), Verdict::Fail);
        assert!(matches!(verdict(true), Verdict::Skip(_)));
        assert_eq!(verdict(false), Verdict::Pass);
    }

    #[test]
    fn a_skip_keeps_its_reason() {
        let skip = Verdict::Skip("no veth".to_owned());
        let plan = "KTAP version 1\n1..0 # SKIP no veth\n";
        assert_eq!(verdicts(plan, Ok(4))[0].1, skip);
        assert_eq!(verdicts(plan, Ok(0))[0].1, skip);
        let word = Verdict::Skip("skipped: no veth".to_owned());
        assert_eq!(verdicts("skipped: no veth\n", Ok(4))[0].1, word);
        let all = "KTAP version 1\n1..1\nok 1 a # SKIP no veth\n";
        assert_eq!(verdicts(all, Ok(4)), [("a".to_owned(), skip.clone())]);
        let last = "KTAP version 1\n1..2\nok 1 a # SKIP no veth\nok 2 nothing is left behind\n";
        assert_eq!(verdicts(last, Ok(4)).len(), 2);
    }
}

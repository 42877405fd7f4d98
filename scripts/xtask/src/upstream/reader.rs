// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the kernel's scripts print: `TEST: name ... ok`, and much else when something went wrong.

use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use super::Script;
use super::ScriptRun;
use super::Test;
use crate::ktap::Verdict;

/// What the guest prints before a script, and its name.
pub const BEGIN: &str = "@upstream-begin=";
/// What the guest prints after a script, and its exit status.
pub const END: &str = "@upstream-end=";

/// The exit status of a script that was skipped.
const SKIPPED: i32 = crate::ktap::SKIP_STATUS;

/// Reads the output of several scripts, line by line.
pub struct Reader<'a> {
    jobs: &'a [Script],
    done: Vec<ScriptRun>,
    now: Option<Current>,
    last: Instant,
}

/// The script that runs.
struct Current {
    started: Instant,
    tests: Vec<Test>,
    /// The test that has been announced and has no result yet.
    open: Option<String>,
    said: Vec<String>,
}

impl<'a> Reader<'a> {
    pub fn new(jobs: &'a [Script]) -> Reader<'a> {
        Reader {
            jobs,
            done: Vec::new(),
            now: None,
            last: Instant::now(),
        }
    }

    /// Take a line. The answer is what there is to tell of a test that has just ended.
    pub fn line(&mut self, line: &str, at: Instant) -> Option<String> {
        if line.strip_prefix(BEGIN).is_some() {
            self.last = at;
            self.now = Some(Current {
                started: at,
                tests: Vec::new(),
                open: None,
                said: Vec::new(),
            });
            return None;
        }
        if let Some(status) = line.strip_prefix(END) {
            let status = status.trim().parse().unwrap_or(-1);
            self.close(&ended(status), status == SKIPPED, at);
            return None;
        }
        let now = self.now.as_mut()?;
        let mut rest = line;
        if let Some((name, after)) = line
            .strip_prefix("TEST: ")
            .and_then(|rest| rest.split_once(" ... "))
        {
            now.open = Some(name.to_owned());
            now.said.clear();
            rest = after;
        }
        let passed = match rest.trim() {
            "ok" => Some(true),
            "not ok" => Some(false),
            "" => return None,
            _ => None,
        };
        match (passed, now.open.is_some()) {
            (Some(true), true) => {
                let name = now.open.take()?;
                let told = format!("ok {name}");
                let elapsed = at.duration_since(self.last);
                now.tests.push(Test {
                    name,
                    verdict: Verdict::Pass,
                    said: Vec::new(),
                    elapsed,
                });
                self.last = at;
                Some(told)
            }
            // What follows a failure says why, up to the end of the script.
            (Some(false), true) => Some(format!("not ok {}", now.open.as_deref().unwrap_or(""))),
            _ => {
                now.said.push(rest.trim_end().to_owned());
                None
            }
        }
    }

    /// The guest has ended; a script that still runs has ended with it.
    pub fn finish(mut self, ending: &str, at: Instant) -> Vec<ScriptRun> {
        if self.now.is_none() && self.done.len() < self.jobs.len() {
            // Not even begun: the guest ended between two scripts, or before the first.
            self.now = Some(Current {
                started: at,
                tests: Vec::new(),
                open: None,
                said: Vec::new(),
            });
        }
        self.close(ending, false, at);
        self.done
    }

    /// The script has ended, as `ending` says; what it did not come to has failed.
    fn close(&mut self, ending: &str, skipped: bool, at: Instant) {
        let Some(mut now) = self.now.take() else {
            return;
        };
        let Some(job) = self.jobs.get(self.done.len()) else {
            return;
        };
        let why = now
            .said
            .iter()
            .find_map(|line| line.strip_prefix("SKIP: "))
            .or(now.said.first().map(String::as_str))
            .unwrap_or(ending)
            .to_owned();
        let open = now.open.take();
        let mut first = true;
        for name in job.tests.iter().skip(now.tests.len()) {
            let reached = open.as_deref() == Some(name);
            let verdict = if skipped {
                Verdict::Skip(why.clone())
            } else {
                Verdict::Fail
            };
            let mut said = Vec::new();
            if first {
                said.append(&mut now.said);
            }
            said.push(if reached {
                ending.to_owned()
            } else {
                format!("not reached: {ending}")
            });
            now.tests.push(Test {
                name: name.clone(),
                verdict,
                said,
                elapsed: if first {
                    at.duration_since(self.last)
                } else {
                    Duration::ZERO
                },
            });
            first = false;
        }
        self.done.push(ScriptRun {
            script: job.name.clone(),
            tests: now.tests,
            elapsed: at.duration_since(now.started),
            log: PathBuf::new(),
            failure: None,
        });
    }
}

fn ended(status: i32) -> String {
    match status {
        // Of `timeout`.
        124 => "the script was stopped at its time-out".to_owned(),
        _ => format!("the script ended with exit status {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(jobs: &[Script], text: &str, ending: &str) -> Vec<ScriptRun> {
        let mut reader = Reader::new(jobs);
        let at = Instant::now();
        for line in text.lines() {
            reader.line(line, at);
        }
        reader.finish(ending, at)
    }

    fn job(name: &str, tests: &[&str]) -> Script {
        Script {
            name: name.to_owned(),
            tests: tests.iter().map(|test| (*test).to_owned()).collect(),
        }
    }

    fn verdicts(run: &ScriptRun) -> Vec<(&str, &Verdict)> {
        run.tests
            .iter()
            .map(|test| (test.name.as_str(), &test.verdict))
            .collect()
    }

    #[test]
    fn every_test_has_a_result() {
        let jobs = [job("test-a", &["x", "y"]), job("test-b", &["z"])];
        let text = format!(
            "{BEGIN}test-a\nTEST: x ... ok\nTEST: y ... ok\n{END}0\n\
             {BEGIN}test-b\nTEST: z ... ./test-b.sh: line 4: 77 Terminated ./helper\nok\n{END}0\n"
        );
        let runs = read(&jobs, &text, "the end");
        assert_eq!(runs.len(), 2);
        assert_eq!(
            verdicts(&runs[0]),
            [("x", &Verdict::Pass), ("y", &Verdict::Pass)]
        );
        assert_eq!(verdicts(&runs[1]), [("z", &Verdict::Pass)]);
    }

    #[test]
    fn a_failure_says_why_and_ends_the_script() {
        let jobs = [job("test-a", &["x", "y", "z"])];
        let text = format!(
            "{BEGIN}test-a\nTEST: x ... ok\nTEST: y ... not ok\n\n-old\n+new\n\nERROR: failed\n{END}1\n"
        );
        let runs = read(&jobs, &text, "the end");
        let tests = &runs[0].tests;
        assert_eq!(tests[0].verdict, Verdict::Pass);
        assert_eq!(tests[1].verdict, Verdict::Fail);
        assert_eq!(tests[1].said[..3], ["-old", "+new", "ERROR: failed"]);
        assert_eq!(
            tests[2].said,
            ["not reached: the script ended with exit status 1"]
        );
    }

    #[test]
    fn a_guest_that_ends_fails_the_script_that_ran() {
        let jobs = [
            job("test-a", &["x"]),
            job("test-b", &["y", "z"]),
            job("test-c", &["w"]),
        ];
        let text =
            format!("{BEGIN}test-a\nTEST: x ... ok\n{END}0\n{BEGIN}test-b\nTEST: y ... ok\n");
        let runs = read(&jobs, &text, "the guest's kernel panicked");
        assert_eq!(runs.len(), 2, "the rest gets another guest");
        assert_eq!(runs[1].tests[1].verdict, Verdict::Fail);
        let none = read(&jobs, "", "the guest did not run");
        assert_eq!(none.len(), 1, "there is always progress");
        assert_eq!(none[0].tests[0].verdict, Verdict::Fail);
    }

    #[test]
    fn a_skip_is_no_pass_and_keeps_its_reason() {
        let jobs = [job("test-a", &["x"])];
        let text = format!("{BEGIN}test-a\nSKIP: no kprobes\n{END}4\n");
        let runs = read(&jobs, &text, "the end");
        assert_eq!(
            runs[0].tests[0].verdict,
            Verdict::Skip("no kprobes".to_owned())
        );
    }

    #[test]
    fn an_end_without_words_is_a_failure() {
        let jobs = [job("test-a", &["x"])];
        let runs = read(&jobs, &format!("{BEGIN}test-a\n{END}0\n"), "the end");
        assert_eq!(runs[0].tests[0].verdict, Verdict::Fail);
    }
}

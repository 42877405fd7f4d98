// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The results of a test run: counted, remembered, and written for other programs.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use anyhow::Result;
use fs_err as fs;
use quick_junit::NonSuccessKind;
use quick_junit::TestCase;
use quick_junit::TestCaseStatus;
use quick_junit::TestSuite;
use serde::Deserialize;
use serde::Serialize;

use crate::error::Failure;
pub use crate::ktap::Case;
use crate::ktap::Verdict;
use crate::paths;

/// What ran together: one script in its guest, or one of the host's checks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Suite {
    pub name: String,
    /// What `uname -r` said, for what ran in a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    pub milliseconds: u64,
    /// How many processes the guest has started for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
    /// When it ended, in seconds since 1970.
    pub ended: u64,
    pub log: PathBuf,
    /// A worse end than failed cases.
    #[serde(skip)]
    pub failure: Option<Failure>,
    pub cases: Vec<Case>,
}

impl Suite {
    pub fn new(name: &str, elapsed: Duration, cases: Vec<Case>, log: PathBuf) -> Suite {
        Suite {
            name: name.to_owned(),
            milliseconds: elapsed.as_millis() as u64,
            ended: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_secs()),
            log,
            cases,
            ..Suite::default()
        }
    }

    pub fn count(&self) -> Count {
        let mut count = Count::default();
        count.add(&self.cases);
        count
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Count {
    fn add(&mut self, cases: &[Case]) {
        for case in cases {
            match case.verdict {
                Verdict::Pass => self.passed += 1,
                Verdict::Fail => self.failed += 1,
                Verdict::Skip(_) => self.skipped += 1,
            }
        }
    }
}

/// A whole run, in the form in which it is kept and given to other programs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    #[serde(flatten)]
    pub count: Count,
    pub milliseconds: u64,
    /// What `uname -r` said in the guests, if there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    pub suites: Vec<Suite>,
}

impl Run {
    pub fn new(kernel: Option<String>, elapsed: Duration, suites: Vec<Suite>) -> Run {
        let mut count = Count::default();
        suites.iter().for_each(|suite| count.add(&suite.cases));
        Run {
            count,
            milliseconds: elapsed.as_millis() as u64,
            kernel,
            suites,
        }
    }

    /// What the exit status should tell: a panic before a time-out, that before a broken host,
    /// that before a failed test.
    pub fn worst(&self) -> Option<Failure> {
        let rank = |failure: &Failure| match failure {
            Failure::GuestPanic => 0,
            Failure::TimedOut => 1,
            _ => 2,
        };
        self.suites
            .iter()
            .filter_map(|suite| suite.failure.clone())
            .min_by_key(rank)
            .or_else(|| (self.count.failed > 0).then_some(Failure::TestFailed))
    }

    /// `--json FILE`.
    pub fn write_json(&self, file: &Path) -> Result<()> {
        paths::write_whole(file, &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// `--junit FILE`.
    pub fn write_junit(&self, file: &Path) -> Result<()> {
        paths::write_whole(file, &self.junit().to_string()?)
    }

    fn junit(&self) -> quick_junit::Report {
        let mut report = quick_junit::Report::new("livepatch cookbook");
        report.set_time(Duration::from_millis(self.milliseconds));
        for suite in &self.suites {
            let mut out = TestSuite::new(&suite.name);
            out.set_time(Duration::from_millis(suite.milliseconds));
            for case in &suite.cases {
                let status = match &case.verdict {
                    Verdict::Pass => TestCaseStatus::success(),
                    Verdict::Fail => {
                        let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
                        failed.set_message(case.said.first().map_or("failed", |l| l.as_str()));
                        failed.set_description(case.said.join("\n"));
                        failed
                    }
                    Verdict::Skip(why) => {
                        let mut skipped = TestCaseStatus::skipped();
                        skipped.set_message(why.as_str());
                        skipped
                    }
                };
                let mut one = TestCase::new(&case.name, status);
                one.set_classname(suite.name.as_str());
                out.add_test_case(one);
            }
            report.add_test_suite(out);
        }
        report
    }

    /// Keep the results in a file. What did not run this time keeps the results of the last time that it did.
    pub fn remember(&self, file: &Path) -> Result<()> {
        let mut record = self.clone();
        let runs_now = |suite: &Suite| self.suites.iter().any(|now| now.name == suite.name);
        let before = read(file).suites.into_iter();
        record
            .suites
            .extend(before.filter(|suite| !runs_now(suite)));
        record.suites.sort_by(|a, b| a.name.cmp(&b.name));
        fs::create_dir_all(file.parent().unwrap_or(file))?;
        record.write_json(file)
    }
}

/// Where the last results of each suite are, of which `cargo xtask rules` tells.
pub fn last_file() -> PathBuf {
    paths::target().join("xtask/results.json")
}

/// The last results of each suite; empty when nothing ran yet.
pub fn last() -> Run {
    read(&last_file())
}

fn read(file: &Path) -> Run {
    fs::read(file)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        let mut suite = Suite::new(
            "x",
            Duration::from_millis(1500),
            vec![
                Case::new("R1: a <b> & \u{1b}[1m", Verdict::Pass),
                Case::failed("c", vec!["-old".to_owned(), "+new".to_owned()]),
                Case::new("d", Verdict::Skip("no veth".to_owned())),
            ],
            "/l/console.log".into(),
        );
        suite.kernel = Some("7.2".to_owned());
        Run::new(Some("7.2".to_owned()), Duration::from_secs(2), vec![suite])
    }

    #[test]
    fn counts_and_verdict() {
        let mut run = run();
        let count = run.count;
        assert_eq!((count.passed, count.failed, count.skipped), (1, 1, 1));
        assert_eq!(run.worst(), Some(Failure::TestFailed));
        run.suites.push(run.suites[0].clone());
        run.suites[0].failure = Some(Failure::TimedOut);
        assert_eq!(run.worst(), Some(Failure::TimedOut));
        run.suites[1].failure = Some(Failure::GuestPanic);
        assert_eq!(run.worst(), Some(Failure::GuestPanic));
    }

    #[test]
    fn json_can_be_read_back() {
        let run = run();
        let text = serde_json::to_string(&run).unwrap();
        let back: Run = serde_json::from_str(&text).unwrap();
        assert_eq!(back.count, run.count);
        assert_eq!(back.suites[0].cases, run.suites[0].cases);
        for words in [
            r#""passed":1,"failed":1"#,
            r#""result":"passed"}"#,
            r#""result":"skipped","reason":"no veth""#,
        ] {
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn junit_holds_failures_and_skips() {
        let xml = run().junit().to_string().unwrap();
        assert!(xml.contains("failures=\"1\""), "{xml}");
        assert!(xml.contains("no veth"), "{xml}");
        assert!(xml.contains("R1: a &lt;b&gt; &amp;"), "{xml}");
        assert!(!xml.contains('\u{1b}'), "{xml}");
    }
}

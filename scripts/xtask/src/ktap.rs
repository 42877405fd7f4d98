// SPDX-License-Identifier: GPL-2.0 OR MIT

//! KTAP, the kernel's test output (`Documentation/dev-tools/ktap.rst`), as far as our scripts speak it.
//!
//! Nested results are flattened: a case inside `outer` is called `outer: inner`. A result line that
//! closes nested cases counts only when it says something that they do not: that all of them passed
//! and it failed nevertheless. Whatever is wrong with the output itself (no plan, another number of
//! results than planned, an end before the last result, a bail-out) is a problem, and the caller
//! counts each as a failure: silence is not success.

use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;
use serde::Serialize;

use crate::oops::pattern;

/// The exit status by which a kselftest says that it was skipped as a whole.
pub const SKIP_STATUS: i32 = 4;

/// How a case ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", content = "reason")]
pub enum Verdict {
    #[default]
    #[serde(rename = "passed")]
    Pass,
    #[serde(rename = "failed")]
    Fail,
    /// Not run, and why.
    #[serde(rename = "skipped")]
    Skip(String),
}

/// One thing that was checked, one result line of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    pub name: String,
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What was printed on the way, or why it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<String>,
}

impl Case {
    pub fn new(name: &str, verdict: Verdict) -> Case {
        Case {
            name: name.to_owned(),
            verdict,
            said: Vec::new(),
        }
    }

    pub fn failed(name: &str, said: Vec<String>) -> Case {
        Case {
            said,
            ..Case::new(name, Verdict::Fail)
        }
    }

    pub fn is_failed(&self) -> bool {
        self.verdict == Verdict::Fail
    }

    pub fn is_skipped(&self) -> bool {
        matches!(self.verdict, Verdict::Skip(_))
    }

    /// Passed if nobody complained.
    pub fn from_complaints(name: &str, complaints: Vec<String>) -> Case {
        if complaints.is_empty() {
            Case::new(name, Verdict::Pass)
        } else {
            Case::failed(name, complaints)
        }
    }
}

/// What a test script reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub cases: Vec<Case>,
    /// What is wrong with the output itself.
    pub problems: Vec<String>,
    /// Why the whole script was skipped (`1..0 # SKIP why`).
    pub skipped: Option<String>,
    /// What was printed after the last result.
    pub rest: Vec<String>,
}

#[derive(Default)]
struct Level {
    indent: usize,
    plan: Option<usize>,
    results: usize,
    /// `# Subtest: name`.
    name: Option<String>,
    /// Index of the first case of this level and those below it.
    first_case: usize,
}

/// Whatever is not a comment or something that anybody has printed.
static TAP: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(K?TAP version |Bail out!|# Subtest:|1\.\.\d+\s*(#|$)|(not )?ok(\s|$))")
});

/// `1..4`, or `1..0 # SKIP why`.
static PLAN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^1\.\.(\d+)\s*(?:#(?:\s*(?i:skip(?:ped)?):?)?\s*(.*))?$"));

/// `not ok 1 name`, `ok 2 name # SKIP why`.
static RESULT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(not )?ok(?:\s+(\d+))?(?:\s+-)?(?:\s+(.*?))??(?:\s+#\s*(?i:skip(?:ped)?)\b:?\s*(.*))?$",
    )
});

/// Read what a script printed.
pub fn parse(output: &str) -> Report {
    let mut report = Report::default();
    let mut levels: Vec<Level> = Vec::new();
    let mut said: Vec<String> = Vec::new();

    for line in output.lines().map(str::trim_end) {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        if !TAP.is_match(body) {
            said.extend((!body.is_empty()).then(|| line.to_owned()));
            continue;
        }
        // Deeper levels end when something shallower speaks; a result at this depth closes them.
        let mut closed = None;
        while levels.last().is_some_and(|level| level.indent > indent) {
            let Some(level) = levels.pop() else { break };
            close(&level, &mut report.problems);
            closed = Some(level.first_case).filter(|&first| first < report.cases.len());
        }
        if levels.last().is_none_or(|level| level.indent < indent) {
            levels.push(Level {
                indent,
                first_case: report.cases.len(),
                ..Level::default()
            });
        }
        let Some(level) = levels.last_mut() else {
            continue;
        };
        if let Some(name) = body.strip_prefix("# Subtest:") {
            level.name = Some(name.trim().to_owned());
        } else if let Some(why) = body.strip_prefix("Bail out!") {
            report.problems.push(format!("bailed out: {}", why.trim()));
        } else if let Some(plan) = PLAN.captures(body) {
            let count = plan[1].parse().unwrap_or(usize::MAX);
            if level.plan.replace(count).is_some() {
                report.problems.push("two plans".to_owned());
            }
            if count == 0 && indent == 0 {
                report.skipped = Some(plan.get(2).map_or("", |why| why.as_str()).to_owned());
            }
        } else if let Some(result) = RESULT.captures(body) {
            level.results += 1;
            let due = level.results;
            let number = result
                .get(2)
                .and_then(|number| number.as_str().parse().ok());
            if let Some(number) = number.filter(|&number| number != due) {
                let problem = format!("result {number} where result {due} was due");
                report.problems.push(problem);
                level.results = due.max(number);
            }
            let name = match result.get(3) {
                Some(name) => name.as_str().to_owned(),
                None => format!("case {}", number.unwrap_or(due)),
            };
            let verdict = match (result.get(1), result.get(4)) {
                // `ok # SKIP` and `not ok # SKIP` both mean that it was not run.
                (_, Some(why)) => Verdict::Skip(why.as_str().to_owned()),
                (None, None) => Verdict::Pass,
                (Some(_), None) => Verdict::Fail,
            };
            let mut case = Case::new(&name, verdict);
            case.said = std::mem::take(&mut said);
            let inner = closed.map(|first| &mut report.cases[first..]);
            let told = inner.is_some_and(|inner| {
                prefix(inner, &name);
                !case.is_failed() || inner.iter().any(Case::is_failed)
            });
            if !told {
                report.cases.push(case);
            }
        }
    }
    if levels.is_empty() {
        report.problems.push("no KTAP output".to_owned());
    }
    while let Some(level) = levels.pop() {
        close(&level, &mut report.problems);
        if let Some(name) = &level.name {
            prefix(&mut report.cases[level.first_case..], name);
        }
    }
    report.rest = said;
    report
}

fn prefix(cases: &mut [Case], outer: &str) {
    for case in cases {
        case.name = format!("{outer}: {}", case.name);
    }
}

fn close(level: &Level, problems: &mut Vec<String>) {
    let of = level.name.as_ref().map(|name| format!("{name}: "));
    let of = of.unwrap_or_default();
    match level.plan {
        Some(plan) if level.results < plan => problems.push(format!(
            "{of}the output ends early: {} of {plan} results",
            level.results
        )),
        Some(plan) if level.results > plan => problems.push(format!(
            "{of}{} results where {plan} were planned",
            level.results
        )),
        // An inner level may do without a plan; TAP has none there either.
        None if level.indent == 0 && level.results > 0 => {
            problems.push("no plan (`1..N`)".to_owned());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(report: &Report) -> Vec<(&str, &Verdict)> {
        report
            .cases
            .iter()
            .map(|c| (c.name.as_str(), &c.verdict))
            .collect()
    }

    #[test]
    fn a_plain_report() {
        let report = parse(
            "TAP version 13\n1..6\n# hello\nok 1 first # with a hash\nnot ok 2 - second\nok 3\n\
             not ok 4 b # SKIP: why\nok 5 c # skip\nok 6 R7: f # g # SKIP h\n",
        );
        let skip = |why: &str| Verdict::Skip(why.to_owned());
        assert_eq!(
            verdicts(&report),
            [
                ("first # with a hash", &Verdict::Pass),
                ("second", &Verdict::Fail),
                ("case 3", &Verdict::Pass),
                ("b", &skip("why")),
                ("c", &skip("")),
                ("R7: f # g", &skip("h"))
            ]
        );
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(report.cases[0].said, ["# hello"]);
    }

    #[test]
    fn nested_results_are_flattened() {
        let report = parse(
            "KTAP version 1\n1..2\n  KTAP version 1\n  1..2\n  ok 1 one\n  ok 2 two\nok 1 outer\n\
             \x20 # Subtest: named\n  1..1\n    1..1\n    not ok 1 deep\n  not ok 1 middle\n\
             not ok 2 named\n",
        );
        assert_eq!(
            verdicts(&report),
            [
                ("outer: one", &Verdict::Pass),
                ("outer: two", &Verdict::Pass),
                ("named: middle: deep", &Verdict::Fail),
            ]
        );
        assert_eq!(report.problems, Vec::<String>::new());
    }

    #[test]
    fn an_outer_failure_of_its_own_counts() {
        let report = parse("1..1\n  1..1\n  ok 1 inner\nnot ok 1 outer\n");
        let outer = ("outer", &Verdict::Fail);
        assert_eq!(verdicts(&report), [("outer: inner", &Verdict::Pass), outer]);
    }

    #[test]
    fn what_is_wrong_with_the_output_is_a_problem() {
        let early = "the output ends early: 1 of 3 results";
        for (text, problems) in [
            ("KTAP version 1\n1..3\nok 1 a\n", &[early] as &[&str]),
            (
                "1..1\nok 1 a\nok 2 b\n",
                &["2 results where 1 were planned"],
            ),
            ("ok 1 a\n", &["no plan (`1..N`)"]),
            // A plan at the end is allowed.
            ("ok 1 a\n1..1\n", &[]),
            (
                "1..3\nok 1 a\nok 3 c\n",
                &["result 3 where result 2 was due"],
            ),
            ("", &["no KTAP output"]),
            ("bash: no such file\nokay\n", &["no KTAP output"]),
            (
                "1..3\nok 1 a\nBail out! no net\n",
                &["bailed out: no net", early],
            ),
            (
                "1..1\n  # Subtest: x\n  1..3\n  ok 1 a\nnot ok 1 x\n",
                &[&format!("x: {early}")],
            ),
        ] {
            assert_eq!(parse(text).problems, problems, "{text}");
        }
    }
}

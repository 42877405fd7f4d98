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

/// What a line is, once its indentation is gone.
enum Line<'a> {
    Version,
    Plan(usize, Option<String>),
    Result {
        ok: bool,
        number: Option<usize>,
        name: &'a str,
        skip: Option<&'a str>,
    },
    Subtest(&'a str),
    BailOut(&'a str),
    Other,
}

static PLAN: LazyLock<Regex> = LazyLock::new(|| pattern(r"^1\.\.(\d+)\s*(#.*)?$"));

static RESULT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(not )?ok(?:\s+(\d+))?(?:\s+(?:- )?(.*))?$"));

/// `name # SKIP why`.
static SKIP: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(?:^|\s)#\s*skip(?:ped)?:?(?:\s+(.*))?$"));

fn classify(line: &str) -> Line<'_> {
    if line.starts_with("KTAP version ") || line.starts_with("TAP version ") {
        return Line::Version;
    }
    if let Some(rest) = line.strip_prefix("Bail out!") {
        return Line::BailOut(rest.trim());
    }
    if let Some(name) = line.strip_prefix("# Subtest:") {
        return Line::Subtest(name.trim());
    }
    if let Some(found) = PLAN.captures(line) {
        let why = split_skip(found.get(2).map_or("", |m| m.as_str())).1;
        return found[1].parse().map_or(Line::Other, |number| {
            Line::Plan(number, why.map(str::to_owned))
        });
    }
    let Some(found) = RESULT.captures(line) else {
        return Line::Other;
    };
    let (name, skip) = split_skip(found.get(3).map_or("", |m| m.as_str()));
    Line::Result {
        ok: found.get(1).is_none(),
        number: found.get(2).and_then(|m| m.as_str().parse().ok()),
        name,
        skip,
    }
}

fn split_skip(text: &str) -> (&str, Option<&str>) {
    match SKIP.captures(text) {
        None => (text.trim_end(), None),
        Some(found) => (
            text[..found.get(0).map_or(0, |m| m.start())].trim_end(),
            Some(found.get(1).map_or("", |m| m.as_str().trim())),
        ),
    }
}

/// Read what a script printed.
pub fn parse(output: &str) -> Report {
    let mut report = Report::default();
    let mut levels: Vec<Level> = vec![Level::default()];
    let mut said: Vec<String> = Vec::new();
    let mut any = false;

    for raw in output.lines() {
        let line = raw.trim_end();
        let body = line.trim_start();
        let indent = line.len() - body.len();
        let kind = classify(body);
        if matches!(kind, Line::Other) {
            if !body.is_empty() {
                said.push(line.to_owned());
            }
            continue;
        }
        any = true;
        // Deeper levels end when something shallower speaks; a result at this depth closes them.
        let mut closed: Option<Level> = None;
        while levels.last().is_some_and(|l| l.indent > indent) {
            if let Some(level) = levels.pop() {
                close(&level, &mut report.problems);
                closed = Some(level);
            }
        }
        if levels.last().is_none_or(|l| l.indent < indent) {
            levels.push(Level {
                indent,
                first_case: report.cases.len(),
                ..Level::default()
            });
        }
        let Some(level) = levels.last_mut() else {
            continue;
        };
        match kind {
            // The first went with the comments already.
            Line::Other | Line::Version => {}
            Line::Subtest(name) => level.name = Some(name.to_owned()),
            Line::Plan(count, why) => {
                if level.plan.replace(count).is_some() {
                    report.problems.push("two plans".to_owned());
                }
                if count == 0 && indent == 0 {
                    report.skipped = Some(why.unwrap_or_default());
                }
            }
            Line::BailOut(why) => {
                report.problems.push(if why.is_empty() {
                    "bailed out".to_owned()
                } else {
                    format!("bailed out: {why}")
                });
            }
            Line::Result {
                ok,
                number,
                name,
                skip,
            } => {
                level.results += 1;
                if let Some(number) = number.filter(|&n| n != level.results) {
                    report.problems.push(format!(
                        "result {number} where result {} was due",
                        level.results
                    ));
                    level.results = level.results.max(number);
                }
                let name = match (name.is_empty(), number) {
                    (false, _) => name.to_owned(),
                    (true, Some(number)) => format!("case {number}"),
                    (true, None) => format!("case {}", level.results),
                };
                let verdict = match (ok, skip) {
                    // `ok # SKIP` and `not ok # SKIP` both mean that it was not run.
                    (_, Some(why)) => Verdict::Skip(why.to_owned()),
                    (true, None) => Verdict::Pass,
                    (false, None) => Verdict::Fail,
                };
                let case = Case {
                    name,
                    verdict,
                    said: std::mem::take(&mut said),
                };
                let nested = closed
                    .map(|l| l.first_case)
                    .filter(|&first| first < report.cases.len());
                match nested {
                    Some(first) => {
                        let inner = &mut report.cases[first..];
                        prefix(inner, &case.name);
                        let inner_failed = inner.iter().any(|c| c.verdict == Verdict::Fail);
                        if case.verdict == Verdict::Fail && !inner_failed {
                            report.cases.push(case);
                        }
                    }
                    None => report.cases.push(case),
                }
            }
        }
    }
    while let Some(level) = levels.pop() {
        if any {
            close(&level, &mut report.problems);
            if let Some(name) = &level.name {
                prefix(&mut report.cases[level.first_case..], name);
            }
        }
    }
    if !any {
        report.problems.push("no KTAP output".to_owned());
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
            "TAP version 13\n1..3\n# hello\nok 1 first # with a hash\nnot ok 2 - second\n\
             ok 3 third # SKIP no ethtool\n",
        );
        assert_eq!(
            verdicts(&report),
            [
                ("first # with a hash", &Verdict::Pass),
                ("second", &Verdict::Fail),
                ("third", &Verdict::Skip("no ethtool".to_owned())),
            ]
        );
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(report.cases[0].said, ["# hello"]);
    }

    #[test]
    fn a_skipped_case_is_no_result() {
        let report =
            parse("1..3\nnot ok 1 b # SKIP: why\nok 2 c # skip\nok 3 R7: f # g # SKIP h\n");
        let skip = |why: &str| Verdict::Skip(why.to_owned());
        assert_eq!(
            verdicts(&report),
            [
                ("b", &skip("why")),
                ("c", &skip("")),
                ("R7: f # g", &skip("h"))
            ]
        );
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
        assert_eq!(
            verdicts(&report),
            [("outer: inner", &Verdict::Pass), ("outer", &Verdict::Fail)]
        );
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

    #[test]
    fn a_whole_script_can_be_skipped() {
        let report = parse("TAP version 13\n1..0 # SKIP needs two network cards\n");
        assert_eq!(report.skipped.as_deref(), Some("needs two network cards"));
        assert_eq!(report.problems, Vec::<String>::new());
    }
}

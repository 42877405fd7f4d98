// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask rules`: the rules of the kernel's callback document, and their proofs.
//!
//! A test case proves a rule by its name: `R7: a refusal reaches insmod`. A case that proves more
//! than one names them all in front: `R8 R9: …`. The results are those of the last run of
//! each test, which `cargo xtask test` keeps.

use anyhow::Result;
use console::style;
use console::Style;

use crate::results;
use crate::results::Record;

/// The rules, in one place. The callback document is `Documentation/livepatch/callbacks.rst`.
pub const RULES: [&str; 14] = [
    "the four callbacks run at their four moments, in order, around the transition",
    "each callback is optional; leaving any subset out changes nothing for the rest",
    "symmetry: an unpatch callback runs only if its patch counterpart ran",
    "a vmlinux object's callbacks always run; a module object's only while that module is loaded",
    "a target loaded later gets its pre/post-patch callbacks at its load, before its init runs",
    "a target unloaded under an enabled patch gets its pre/post-unpatch callbacks, and only its own",
    "pre_patch failing while the livepatch loads: the livepatch is refused with that errno",
    "pre_patch failing while a target loads: the target is refused with that errno, the patch stays",
    "after a failed pre_patch no other callback of that object runs",
    "a reversed patching transition runs no pre_unpatch; post_unpatch does run",
    "objects already patched when a later object fails get post_unpatch alone",
    "module init/exit do not run when a patch is disabled or a transition reversed; callbacks do",
    "atomic replace: only the new patch's callbacks run; the old patch's state is freed, not reverted",
    "a forced transition, and a reversed unpatching transition, leave the state consistent",
];

/// A test case that proves a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proof {
    suite: String,
    case: String,
    result: String,
    reason: Option<String>,
}

/// `cargo xtask rules`.
pub fn run() -> Result<()> {
    print!("{}", table(&results::last()));
    Ok(())
}

/// The rules that a case's name carries, counted from 1.
fn rules_of(name: &str) -> Vec<usize> {
    // Nested names come as `outer: inner`; the rules may stand before any part.
    let mut rules = Vec::new();
    for part in name.split(": ") {
        let numbers: Option<Vec<usize>> = part
            .split([' ', ',', '+'])
            .filter(|word| !word.is_empty())
            .map(|word| {
                word.strip_prefix('R')?
                    .parse()
                    .ok()
                    .filter(|nr| (1..=RULES.len()).contains(nr))
            })
            .collect();
        rules.extend(numbers.unwrap_or_default());
    }
    rules
}

fn proofs(record: &Record, rule: usize) -> Vec<Proof> {
    let mut found = Vec::new();
    for suite in &record.suites {
        for case in &suite.cases {
            if suite.kind == "kernel" && rules_of(&case.name).contains(&rule) {
                found.push(Proof {
                    suite: suite.name.clone(),
                    case: case.name.clone(),
                    result: case.result.clone(),
                    reason: case.reason.clone(),
                });
            }
        }
    }
    found
}

fn table(record: &Record) -> String {
    let mut text = String::new();
    let mut proved = 0;
    for (nr, sentence) in RULES.iter().enumerate() {
        let rule = nr + 1;
        let proofs = proofs(record, rule);
        let all_passed = !proofs.is_empty() && proofs.iter().all(|p| p.result == "passed");
        proved += usize::from(all_passed);
        text.push_str(&format!(
            "{} {sentence}\n",
            style(format!("{:<4}", format!("R{rule}"))).bold()
        ));
        if proofs.is_empty() {
            text.push_str(&format!("     {}\n", style("no test case yet").yellow()));
        }
        for proof in proofs {
            let how = match proof.result.as_str() {
                "passed" => Style::new().green(),
                "failed" => Style::new().red().bold(),
                _ => Style::new().yellow(),
            };
            let reason = proof
                .reason
                .map_or(String::new(), |why| format!(" ({why})"));
            // `debug rules` is the same script on the debug kernel.
            let (stem, where_) = match proof.suite.strip_prefix("debug ") {
                Some(stem) => (stem, ", debug kernel"),
                None => (proof.suite.as_str(), ""),
            };
            text.push_str(&format!(
                "     {} test-{stem}.sh{where_}: {}{reason}\n",
                how.apply_to(&proof.result),
                proof.case
            ));
        }
    }
    text.push_str(&format!("{proved} of {} rules proved\n", RULES.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::CaseRecord;
    use crate::results::SuiteRecord;

    #[test]
    fn names_carry_rules() {
        assert_eq!(rules_of("R7: a refusal reaches insmod"), [7]);
        assert_eq!(rules_of("R8 R9: both"), [8, 9]);
        assert_eq!(rules_of("R8, R14: both"), [8, 14]);
        assert_eq!(rules_of("outer: R3: inner"), [3]);
        for name in ["R15: none", "R0: none", "RX: none", "R: x", "a R7 b", ""] {
            assert_eq!(rules_of(name), Vec::<usize>::new(), "{name}");
        }
    }

    #[test]
    fn the_table_tells_of_each_rule() {
        console::set_colors_enabled(false);
        let case = |name: &str, result: &str| CaseRecord {
            name: name.to_owned(),
            result: result.to_owned(),
            reason: None,
            said: Vec::new(),
        };
        let suite = |kind: &str, cases| SuiteRecord {
            name: "rules".to_owned(),
            kind: kind.to_owned(),
            milliseconds: 1,
            ended: 1,
            log: "/l".into(),
            cases,
        };
        let record = Record {
            suites: vec![
                suite(
                    "kernel",
                    vec![case("R1: x", "passed"), case("R2: y", "failed")],
                ),
                suite("host", vec![case("R3: no kernel", "passed")]),
            ],
            ..Record::default()
        };
        let text = table(&record);
        assert!(
            text.contains("     passed test-rules.sh: R1: x\n"),
            "{text}"
        );
        assert!(
            text.contains("     failed test-rules.sh: R2: y\n"),
            "{text}"
        );
        assert_eq!(text.matches("no test case yet").count(), 12);
        assert!(text.ends_with("1 of 14 rules proved\n"), "{text}");
    }
}

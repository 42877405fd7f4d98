// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask rules`: the rules of the kernel's callback document, and their proofs.
//!
//! A test case proves a rule by its name: `R7: a refusal reaches insmod`. A case that proves more
//! than one names them all in front: `R8 R9: …`. The results are those of the last run of
//! each test, which `cargo xtask test` keeps.

use std::path::Path;
use std::sync::LazyLock;

use anyhow::Result;
use console::style;
use console::Style;
use regex::Regex;
use serde_json::Value;

use crate::ktap::Verdict;
use crate::oops::pattern;
use crate::paths;
use crate::results;
use crate::results::Case;
use crate::results::Run;
use crate::results::Suite;

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

/// `cargo xtask rules`.
pub fn run() -> Result<()> {
    print!("{}", table(&results::last()));
    Ok(())
}

/// The rows of the table in the book whose last column is not how many edges of the map prove the rule.
pub fn miscounted(root: &Path) -> Vec<String> {
    let page = paths::read_lossy(&root.join("book/src/model/rules.md"));
    let edges = edges(root);
    let rows = (1..=RULES.len()).filter_map(|rule| {
        let edges = edges[format!("R{rule}")].as_u64()?;
        let begin = format!("| [R{rule}](");
        let row = page.lines().find(|line| line.starts_with(&begin));
        let right = row.is_some_and(|row| row.ends_with(&format!("| {edges} |")));
        (!right).then(|| format!("book/src/model/rules.md: {edges} edges prove R{rule}"))
    });
    rows.collect()
}

/// How many edges of the map prove each rule.
fn edges(root: &Path) -> Value {
    let map = paths::read_lossy(&root.join("selftests/expected/lifecycle.json"));
    let map: Value = serde_json::from_str(&map).unwrap_or_default();
    map["rules"].clone()
}

/// The rules that a case's name carries, counted from 1.
fn rules_of(name: &str) -> Vec<usize> {
    static RULE_NAMES: LazyLock<Regex> = LazyLock::new(|| pattern(r"^R\d+([ ,+]+R\d+)*$"));
    // Nested names come as `outer: inner`; the rules may stand before any part.
    name.split(": ")
        .filter(|part| RULE_NAMES.is_match(part))
        .flat_map(|part| part.split(['R', ' ', ',', '+']))
        .filter_map(|number| number.parse().ok())
        .filter(|rule| (1..=RULES.len()).contains(rule))
        .collect()
}

/// The cases that prove a rule, each with its suite.
fn proofs(record: &Run, rule: usize) -> Vec<(&Suite, &Case)> {
    let guests = record.suites.iter().filter(|suite| suite.kernel.is_some());
    guests
        .flat_map(|suite| suite.cases.iter().map(move |case| (suite, case)))
        .filter(|(_, case)| rules_of(&case.name).contains(&rule))
        .collect()
}

fn table(record: &Run) -> String {
    let mut text = String::new();
    let mut proved = 0;
    let edges = edges(&paths::root());
    for (nr, sentence) in RULES.iter().enumerate() {
        let rule = nr + 1;
        let proofs = proofs(record, rule);
        let passed = |case: &Case| case.verdict == Verdict::Pass;
        let all_passed = !proofs.is_empty() && proofs.iter().all(|(_, case)| passed(case));
        proved += usize::from(all_passed);
        let number = style(format!("{:<4}", format!("R{rule}"))).bold();
        text += &format!("{number} {sentence}\n");
        if let Some(edges) = edges[format!("R{rule}")].as_u64() {
            text += &format!("     {edges} edges of the map\n");
        }
        if proofs.is_empty() {
            text += &format!("     {}\n", style("no test case yet").yellow());
        }
        for (suite, case) in proofs {
            let (how, word, reason) = match &case.verdict {
                Verdict::Pass => (Style::new().green(), "passed", String::new()),
                Verdict::Fail => (Style::new().red().bold(), "failed", String::new()),
                Verdict::Skip(why) => (Style::new().yellow(), "skipped", format!(" ({why})")),
            };
            // `debug rules` is the same script on the debug kernel.
            let (stem, where_) = match suite.name.strip_prefix("debug ") {
                Some(stem) => (stem, ", debug kernel"),
                None => (suite.name.as_str(), ""),
            };
            let (word, name) = (how.apply_to(word), &case.name);
            text += &format!("     {word} test-{stem}.sh{where_}: {name}{reason}\n");
        }
    }
    text.push_str(&format!("{proved} of {} rules proved\n", RULES.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let suite = |kernel: Option<&str>, cases| Suite {
            name: "rules".to_owned(),
            kernel: kernel.map(str::to_owned),
            cases,
            ..Suite::default()
        };
        let seen = [("R1: x", Verdict::Pass), ("R2: y", Verdict::Fail)];
        let seen = seen.map(|(name, verdict)| Case::new(name, verdict));
        let elsewhere = Case::new("R3: no kernel", Verdict::Pass);
        let record = Run {
            suites: vec![
                suite(Some("7.2"), seen.to_vec()),
                suite(None, vec![elsewhere]),
            ],
            ..Run::default()
        };
        let text = table(&record);
        for line in ["passed test-rules.sh: R1: x", "failed test-rules.sh: R2: y"] {
            assert!(text.contains(&format!("     {line}\n")), "{text}");
        }
        assert_eq!(text.matches("no test case yet").count(), 12);
        assert!(text.ends_with("1 of 14 rules proved\n"), "{text}");
    }
}

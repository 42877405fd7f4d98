// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is wrong with a livepatch on a kernel.

use anyhow::Result;
use serde::Serialize;

use crate::facts::Facts;
use crate::facts::Object;
use crate::facts::Symbols;
use crate::module;
use crate::module::Patched;

/// How bad it is; the worst of a module decides the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// It loads, and may not do all that its author wants.
    Warning,
    /// insmod, or the load of the target, fails.
    Refused,
    /// It loads, and crashes or does nothing.
    Wrong,
}

impl Grade {
    /// The exit status; clean is 0.
    pub fn code(self) -> u8 {
        match self {
            Grade::Warning => 10,
            Grade::Refused => 11,
            Grade::Wrong => 12,
        }
    }

    /// As a list has it.
    pub fn name(self) -> &'static str {
        match self {
            Grade::Warning => "warning",
            Grade::Refused => "refused",
            Grade::Wrong => "wrong",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Grade::Warning => "warning",
            Grade::Refused => "would be refused",
            Grade::Wrong => "would crash or do nothing",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub grade: Grade,
    /// `OBJECT:FUNCTION`, or the module's own.
    pub symbol: String,
    pub what: String,
    pub help: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {}: {}; {}",
            self.grade.word(),
            self.symbol,
            self.what,
            self.help
        )
    }
}

fn finding(
    grade: Grade,
    symbol: &str,
    what: impl Into<String>,
    help: impl Into<String>,
) -> Finding {
    Finding {
        grade,
        symbol: symbol.to_owned(),
        what: what.into(),
        help: help.into(),
    }
}

/// Everything about the module in `bytes`; `None` where it is no livepatch.
pub fn of(facts: &Facts, bytes: &[u8]) -> Result<Option<Vec<Finding>>> {
    let info = module::modinfo(bytes)?;
    let get = |key: &str| {
        info.iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    };
    let patched = module::patched(bytes)?;
    let name = get("name").unwrap_or("module");
    let kind = module::kind(bytes)?;
    if get("livepatch").is_none() {
        return Ok(kind.livepatch.then(|| {
            vec![finding(
                Grade::Refused,
                name,
                "it is not marked as a livepatch",
                "modinfo must say livepatch=Y (klp_enable_patch() answers EINVAL)",
            )]
        }));
    }
    let mut findings = Vec::new();
    let built_for = get("vermagic")
        .and_then(|v| v.split(' ').next())
        .unwrap_or("no kernel");
    if built_for != facts.release {
        findings.push(finding(
            Grade::Refused,
            name,
            format!("it was built for {built_for}"),
            format!("build it for {}", facts.release),
        ));
    }
    if patched.is_empty() && !kind.rust {
        findings.push(finding(
            Grade::Warning,
            name,
            "its modinfo names no function",
            "it was not made by klp::livepatch!: what it patches was not looked at",
        ));
    }
    for entry in &patched {
        let symbol = format!("{}:{}", entry.object, entry.function);
        let Some(code) = facts.code(&entry.object)? else {
            findings.push(finding(
                Grade::Wrong,
                &symbol,
                format!("this kernel has no module {}", entry.object),
                "for what is built in say `vmlinux`; the core waits for a module of this name for ever",
            ));
            continue;
        };
        let symbols = code.symbols(&entry.function)?;
        findings.extend(entry_findings(entry, &symbols, &symbol, facts));
        let inlined = code.inlined_into(&entry.function)?;
        if !inlined.is_empty() {
            findings.push(finding(
                Grade::Warning,
                &symbol,
                format!("its code is also in {}", inlined.join(", ")),
                "it was inlined there, and stays as it is: replace these as well",
            ));
        }
        let Some(old) = code.prototype(&entry.function)? else {
            continue;
        };
        if symbols.traced == 0 && old.is_bare() {
            continue;
        }
        if let Some(differs) = entry.new.as_ref().and_then(|new| old.differs(new)) {
            findings.push(finding(
                Grade::Wrong,
                &symbol,
                format!("the replacement {differs}"),
                format!("it is `{}`", old.c(&entry.function)),
            ));
        }
    }
    Ok(Some(findings))
}

/// What the symbols of one entry tell.
fn entry_findings(entry: &Patched, symbols: &Symbols, symbol: &str, facts: &Facts) -> Vec<Finding> {
    let say = |grade, what: String, help: &str| Some(finding(grade, symbol, what, help));
    let found = match entry.redirect {
        true => redirected(entry, symbols, facts, say),
        false => replaced(entry, symbols, say),
    };
    let mut findings: Vec<Finding> = found.into_iter().collect();
    if entry.condition {
        for finding in &mut findings {
            finding.grade = Grade::Warning;
            finding.what += ", if its condition holds";
        }
    }
    if !symbols.clones.is_empty() && symbols.code > 0 {
        findings.extend(say(
            Grade::Warning,
            format!("{} stays as it is", symbols.clones.join(", ")),
            "some callers use that copy: replace them as well",
        ));
    }
    if entry.size.is_none_or(|size| size == 0) {
        findings.extend(say(
            Grade::Refused,
            "what runs in its place has no symbol, or none with a size".to_owned(),
            "an assembly stub needs `.size`",
        ));
    }
    findings
}

fn replaced(
    entry: &Patched,
    symbols: &Symbols,
    say: impl Fn(Grade, String, &str) -> Option<Finding>,
) -> Option<Finding> {
    let positions = symbols.all;
    match entry.position {
        _ if symbols.all == 0 && !symbols.clones.is_empty() => say(
            Grade::Refused,
            format!("there is only {}", symbols.clones.join(", ")),
            "its parameters are not those of the source: replace the callers",
        ),
        _ if symbols.all == 0 => say(
            Grade::Refused,
            "there is no such symbol".to_owned(),
            "it was inlined, or is not configured: replace the callers",
        ),
        None | Some(0) if positions > 1 => say(
            Grade::Refused,
            format!("{positions} symbols have this name"),
            "choose one by `@ N` behind the name",
        ),
        Some(position) if position > positions => say(
            Grade::Refused,
            format!("there is no symbol {position} of this name, but {positions}"),
            "count them in /proc/kallsyms, in its order",
        ),
        _ if symbols.code == 0 => say(
            Grade::Refused,
            "it is data".to_owned(),
            "change it in a callback",
        ),
        _ if symbols.init && entry.object == Object::Vmlinux => say(
            Grade::Refused,
            "it is freed when the kernel has started".to_owned(),
            "do by a callback what it should have done",
        ),
        _ if symbols.traced == 0 => say(
            Grade::Refused,
            "ftrace does not reach it".to_owned(),
            "it is notrace, assembly or Rust: `redirects` may reach it, or replace the callers",
        ),
        _ => None,
    }
}

fn redirected(
    entry: &Patched,
    symbols: &Symbols,
    facts: &Facts,
    say: impl Fn(Grade, String, &str) -> Option<Finding>,
) -> Option<Finding> {
    match symbols.code {
        0 => say(
            Grade::Refused,
            "there is no such routine".to_owned(),
            "a kprobe needs a symbol that is code",
        ),
        _ if facts.is_blacklisted(&entry.function) => say(
            Grade::Refused,
            "kprobes may not be on it".to_owned(),
            "it is in the blacklist (noinstr, NOKPROBE_SYMBOL): redirect its callers",
        ),
        1 => None,
        code => say(
            Grade::Refused,
            format!("{code} symbols have this name"),
            "a kprobe takes none of several",
        ),
    }
}

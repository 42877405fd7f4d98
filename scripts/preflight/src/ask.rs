// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `ask FUNCTION [OBJECT]`: can it be patched, as what, and if not, what then?

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::facts::Facts;
use crate::findings;
use crate::findings::Finding;
use crate::findings::Findings;
use crate::findings::Grade;
use crate::inlined::base;
use crate::module::Patched;
use crate::recipe::Wish;
use crate::symbols::Object;

/// Where the code of vmlinux, and of all else, is.
const BUILT_IN: [&str; 14] = [
    "arch/x86", "block", "crypto", "drivers", "fs", "init", "io_uring", "ipc", "kernel", "lib",
    "mm", "net", "security", "sound",
];

/// What is known, for whoever goes on with it.
pub struct Answer {
    /// A livepatch can replace the function as it is.
    pub can: bool,
    pub object: Object,
    /// File and line of what looks like the definition.
    pub source: Option<String>,
    /// The functions that its code is in, and that can be asked for in its place.
    pub callers: BTreeSet<String>,
}

/// Prints what is known.
pub fn run(facts: &Facts, wish: &Wish, object: Option<&str>) -> Result<Answer> {
    let function = wish.function.as_str();
    let sources = source(&facts.source, function)?;
    let (object, others) = match object {
        Some(name) => (Object::new(name), Vec::new()),
        None => facts.objects_with(function, &sources)?,
    };
    println!("{function} in {object}, Linux {}", facts.release);
    let say = |what: &str, text: &str| println!("  {what:<10} {text}");
    for other in others {
        say("also in", &other.to_string());
    }
    let Some(code) = facts.code(&object)? else {
        say("no", &format!("this kernel has no module {object}"));
        return Ok(Answer {
            can: false,
            object,
            source: None,
            callers: BTreeSet::new(),
        });
    };
    let mut findings = Findings::default();
    let entry = Patched {
        position: wish.position,
        ..Patched::new(object.clone(), function)
    };
    findings::entry(&mut findings, facts, &code, &entry)?;
    let symbols = code.symbols(function)?;
    let inlined = match symbols.all > symbols.code {
        // It is data.
        true => None,
        false => Some(findings::inlined(&mut findings, &code, &entry, &[])?),
    };
    let findings = findings.0;
    let can = findings
        .iter()
        .all(|finding| finding.grade == Grade::Warning);
    if can {
        say("there", "yes");
        say("traced", "yes: `functions` of livepatch! replaces it");
    }
    for Finding {
        grade, what, help, ..
    } in findings
    {
        say(
            if grade == Grade::Warning { "but" } else { "no" },
            &format!("{what}; {help}"),
        );
    }
    let callers = inlined.iter().flat_map(|inlined| inlined.into.keys());
    let callers = callers.map(|name| base(name).to_owned()).collect();
    match inlined.map(|inlined| (inlined.into.is_empty(), inlined.unsure)) {
        Some((_, Some(why))) => say("inlined", &format!("not known for certain: {why}")),
        Some((true, None)) => say("inlined", "nowhere"),
        _ => {}
    }
    match code.prototype(function)? {
        Some(prototype) if !can && prototype.is_bare() => {
            say(
                "in C",
                "BTF says `void`, as of every routine in assembly: read the source",
            );
        }
        Some(prototype) => {
            say("in C", &prototype.c(function));
            say("in Rust", &prototype.rust(function));
        }
        None => say("in C", "BTF does not have it: read the source"),
    }
    if object == Object::Vmlinux {
        let exported = if facts.is_exported(function) {
            "yes: a module may use it"
        } else {
            "no"
        };
        say("exported", exported);
    }
    for line in &sources {
        say("source", line);
    }
    Ok(Answer {
        can,
        object,
        source: sources.into_iter().next(),
        callers,
    })
}

/// The places of what looks like the definition.
pub fn source(tree: &Path, function: &str) -> Result<Vec<String>> {
    let word = base(function);
    let entry = word
        .strip_prefix("__")
        .and_then(|word| word.split_once("_sys_"));
    let word = entry.map_or(word, |(_, call)| call);
    if !word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(Vec::new());
    }
    let found = Command::new("grep")
        .args(["-rnE", "--include=*.c", "--include=*.S", "--include=*.h"])
        .arg(format!(r"^([a-zA-Z_].*[ *])?{word}\(|^SYM_(FUNC|CODE)_START(_LOCAL)?\({word}\)|^(COMPAT_)?SYSCALL_DEFINE.*\({word}"))
        .args(BUILT_IN)
        .env("LC_ALL", "C")
        .current_dir(tree)
        .output()
        .context("starting grep")?;
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    Ok(text
        .lines()
        .filter(|line| !line.ends_with(';'))
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            Some(format!("{}:{}", parts.next()?, parts.next()?))
        })
        .take(4)
        .collect())
}

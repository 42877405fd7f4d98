// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `ask FUNCTION [OBJECT]`: can it be patched, as what, and if not, what then?

use std::collections::BTreeSet;

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

impl Answer {
    /// Nobody can.
    fn no(object: Object) -> Answer {
        Answer {
            can: false,
            object,
            source: None,
            callers: BTreeSet::new(),
        }
    }
}

/// Prints what is known.
pub fn run(facts: &Facts, wish: &Wish, object: Option<&str>) -> Result<Answer> {
    let function = wish.function.as_str();
    let sources = facts.definitions.of(function)?;
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
        return Ok(Answer::no(object));
    };
    let mut findings = Findings::default();
    let entry = Patched {
        position: wish.position,
        ..Patched::new(object.clone(), function)
    };
    let symbols = code.symbols(function)?;
    if symbols.all == 0 && symbols.clones.is_empty() && sources.is_empty() {
        say("no", "neither a symbol nor a function of the source has this name: it is misspelt, or a macro makes it");
        return Ok(Answer::no(object));
    }
    findings::entry(&mut findings, facts, &code, &entry)?;
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
        let word = if grade == Grade::Warning { "but" } else { "no" };
        say(word, &format!("{what}; {help}"));
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

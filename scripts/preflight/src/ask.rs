// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `ask FUNCTION [OBJECT]`: can it be patched, as what, and if not, what then?

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::facts::Facts;
use crate::facts::Object;

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
}

/// Prints what is known.
pub fn run(facts: &Facts, function: &str, object: Option<&str>) -> Result<Answer> {
    let (object, others) = match object {
        Some(name) => (Object::new(name), Vec::new()),
        None => facts.objects_with(function),
    };
    println!("{function} in {object}, Linux {}", facts.release);
    let say = |what: &str, text: &str| println!("  {what:<10} {text}");
    for other in others {
        say("also in", &other.to_string());
    }
    let Some(code) = facts.code(&object)? else {
        say("there", &format!("no: this kernel has no module {object}"));
        return Ok(Answer {
            can: false,
            object,
            source: None,
        });
    };
    let symbols = code.symbols(function)?;
    let clones = symbols.clones.join(", ");
    let (can, there) = match symbols.code {
        _ if symbols.all > 0 && symbols.code == 0 => (false, "no: it is data, which a callback changes".to_owned()),
        0 if !clones.is_empty() => (
            false,
            format!("no, only {clones}, whose parameters are not those of the source: replace the callers"),
        ),
        0 => (
            false,
            "no: it was inlined into its callers, is not configured, or is in a module (name that): replace the callers".to_owned(),
        ),
        1 if symbols.init => (false, "for a moment: it is freed after the start, so a callback does what it should have done".to_owned()),
        1 => (true, "yes".to_owned()),
        n => (true, format!("{n} times: choose one by `@ N`, counted in /proc/kallsyms")),
    };
    say("there", &there);
    if symbols.code > 0 && !clones.is_empty() {
        say(
            "copies",
            &format!("{clones}: some callers use them, so replace those callers as well"),
        );
    }
    let traced = symbols.traced > 0;
    if symbols.code > 0 && !symbols.init {
        say(
            "traced",
            match (traced, facts.is_blacklisted(function)) {
                (true, _) => "yes: `functions` of livepatch! replaces it",
                (false, false) => {
                    "no: it is notrace, assembly or Rust; `redirects` of livepatch! may reach it"
                }
                (false, true) => "no, and no kprobe may be on it: replace the callers",
            },
        );
    }
    let inlined = code.inlined_into(function)?;
    if !inlined.is_empty() {
        say(
            "inlined",
            &format!("into {}: replace these as well", inlined.join(", ")),
        );
    }
    match code.prototype(function)? {
        Some(prototype) if !traced && prototype.is_bare() => {
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
    let sources = source(&facts.source, function)?;
    for line in &sources {
        say("source", line);
    }
    Ok(Answer {
        can: can && traced,
        object,
        source: sources.into_iter().next(),
    })
}

/// The places of what looks like the definition.
fn source(tree: &Path, function: &str) -> Result<Vec<String>> {
    let word = function.split('.').next().unwrap_or(function);
    if !word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(Vec::new());
    }
    let found = Command::new("grep")
        .args(["-rnE", "--include=*.c", "--include=*.S", "--include=*.h"])
        .arg(format!(r"^([a-zA-Z_].*[ *])?{word}\(|^SYM_(FUNC|CODE)_START(_LOCAL)?\({word}\)|^SYSCALL_DEFINE.*\({word}"))
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

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask ask` and `cargo xtask preflight`: what insmod would say of a livepatch, before it is loaded.
//!
//! `xtask` starts it with `ask FUNCTION [OBJECT]`, `new CHECKOUT NAME FUNCTION [OBJECT]` or `preflight [--json] MODULE.ko…`, and in
//! the tests with `expect` and `made`; with the command line of itself in `XTASK`, a word a line, and with the kernel in `KLP_RELEASE`, `KLP_SOURCE`, `KLP_MODULES` (where its modules are) and `KLP_FACTS` (the
//! folder that keeps its answers).

mod ask;
mod facts;
mod findings;
mod made;
mod module;
mod new;
mod prototype;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use facts::Facts;
use findings::Finding;
use findings::Grade;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = Facts::open().and_then(|mut facts| match words.as_slice() {
        ["ask", function, object @ ..] if object.len() < 2 => {
            let answer = ask::run(&facts, function, object.first().copied())?;
            Ok(u8::from(!answer.can))
        }
        ["new", root, name, function, object @ ..] if object.len() < 2 => {
            let object = object.first().copied();
            let made = new::run(&facts, Path::new(root), name, function, object)?;
            Ok(u8::from(!made))
        }
        ["preflight", "--json", files @ ..] => preflight(&mut facts, files, true),
        ["preflight", files @ ..] => preflight(&mut facts, files, false),
        ["made", root, count, seed, make @ ..] => {
            let (count, seed) = (count.parse()?, seed.parse()?);
            made::run(&mut facts, Path::new(root), count, seed, make)
        }
        ["expect", list, files @ ..] => expect(&mut facts, list, files),
        _ => bail!("run it as `cargo xtask ask` or `cargo xtask preflight`"),
    });
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("preflight: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// `cargo xtask` with the kernel that was chosen.
fn xtask() -> Result<Command> {
    let line = env::var("XTASK").context("XTASK is not set: run it as `cargo xtask ask`")?;
    let mut words = line.lines();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    Ok(command)
}

fn name(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// Looks at one module.
fn examine(facts: &mut Facts, file: &str) -> Result<Option<Vec<Finding>>> {
    facts.look_beside(Path::new(file));
    let bytes = fs::read(file).with_context(|| format!("reading {file}"))?;
    findings::of(facts, &bytes).with_context(|| format!("reading {file}"))
}

/// Looks at each module; gives the exit status of the worst.
fn preflight(facts: &mut Facts, files: &[&str], json: bool) -> Result<u8> {
    let mut worst = 0;
    let mut all = BTreeMap::new();
    for file in files {
        let findings = examine(facts, file)?;
        let name = name(file);
        if !json {
            match &findings {
                None => println!("{name}: no livepatch"),
                Some(findings) if findings.is_empty() => println!("{name}: clean"),
                Some(findings) => findings
                    .iter()
                    .for_each(|finding| println!("{name}: {finding}")),
            }
        }
        let findings = findings.unwrap_or_default();
        worst = findings.iter().map(|f| f.grade.code()).fold(worst, u8::max);
        all.insert(name.to_owned(), findings);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    Ok(worst)
}

/// Prints KTAP: is each livepatch clean but those in `list`, which has a line `MODULE GRADE …` for each?
fn expect(facts: &mut Facts, list: &str, files: &[&str]) -> Result<u8> {
    let text = fs::read_to_string(list).with_context(|| format!("reading {list}"))?;
    let expected: BTreeMap<&str, &str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .collect();
    let mut failed = 0;
    let mut nr = 0;
    println!("KTAP version 1");
    for file in files {
        let Some(findings) = examine(facts, file)? else {
            continue;
        };
        let module = name(file).trim_end_matches(".ko");
        let wanted = expected.get(module).copied().unwrap_or("clean");
        let worst = findings.iter().map(|finding| finding.grade).max();
        let is = worst.map_or("clean", Grade::name);
        findings.iter().for_each(|finding| println!("# {finding}"));
        nr += 1;
        let word = if is == wanted { "ok" } else { "not ok" };
        failed |= u8::from(is != wanted);
        println!("{word} {nr} {module} is {wanted}");
    }
    println!("1..{nr}");
    Ok(failed)
}

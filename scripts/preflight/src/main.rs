// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask ask` and `cargo xtask preflight`: what insmod would say of a livepatch, before it is loaded.
//!
//! `xtask` starts it with `facts`, `ask FUNCTION [OBJECT]`, `new CHECKOUT FOLDER NAME CALLBACKS STATEFUL FUNCTION [OBJECT]`, `kind CHECKOUT
//! FOLDER NAME KIND`, `translate FILE` or `preflight [--json] MODULE.ko…`, after a build with `built`, and in the tests with `expect` and `made`; with the command line of itself in `XTASK`, a word a line, and with the kernel in `KLP_RELEASE`, `KLP_SOURCE`, `KLP_MODULES` (where its modules are) and `KLP_FACTS` (the
//! folder that keeps its answers).

mod agreement;
mod ask;
mod calls;
mod convention;
mod damage;
mod definitions;
mod dwarf;
mod facts;
mod findings;
mod inlined;
mod kind;
mod known;
mod made;
mod module;
mod new;
#[path = "../../xtask/src/pipes.rs"]
mod pipes;
mod prototype;
mod recipe;
mod symbols;
mod tables;
mod translate;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use thiserror::Error;

use facts::Code;
use facts::Facts;
use facts::Object;
use findings::Finding;
use findings::Grade;
use new::Place;
use recipe::Wish;

fn main() -> ExitCode {
    pipes::bear_closed();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["kind", root, out, name, kind] => new::of_kind(&place(root, out), name, kind).map(|()| 0),
        ["facts"] => known::tell().map(|()| 0),
        words => Facts::open().and_then(|facts| run(facts, words)),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("preflight: {error:#}");
            ExitCode::from(if error.is::<Usage>() { 2 } else { 3 })
        }
    }
}

/// What was asked for makes no sense.
#[derive(Debug, Error)]
#[error("{0}")]
struct Usage(String);

fn run(mut facts: Facts, words: &[&str]) -> Result<u8> {
    match words {
        ["ask", function, object @ ..] if object.len() < 2 => {
            let wish = Wish::new(function, "", false)?;
            let answer = ask::run(&facts, &wish, object.first().copied())?;
            Ok(u8::from(!answer.can))
        }
        ["new", root, out, name, callbacks, stateful, function, object @ ..] => {
            let wish = Wish::new(function, callbacks, *stateful == "true")?;
            let object = object.first().copied();
            let made = new::run(&facts, &place(root, out), name, &wish, object)?;
            Ok(u8::from(!made))
        }
        ["assembly"] => {
            print!("{}", convention::table(&facts)?);
            Ok(0)
        }
        ["translate", file] => Ok(u8::from(!translate::run(&facts, file)?)),
        ["preflight", "--json", files @ ..] => preflight(&mut facts, files, "", true),
        ["preflight", files @ ..] => preflight(&mut facts, files, "", false),
        ["built", list, files @ ..] => {
            preflight(&mut facts, files, &fs::read_to_string(list)?, false)
        }
        ["made", root, count, seed, files @ ..] => made::run(
            &mut facts,
            Path::new(root),
            count.parse()?,
            seed.parse()?,
            files,
        ),
        ["expect", list, files @ ..] => expect(&mut facts, list, files),
        _ => bail!("run it as `cargo xtask ask` or `cargo xtask preflight`"),
    }
}

/// In the checkout, or in a folder that was named.
fn place<'a>(root: &'a str, out: &'a str) -> Place<'a> {
    let house = Path::new(root);
    let out = (!out.is_empty()).then(|| Path::new(out));
    Place { house, out }
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

/// Looks at one module: its bytes, and what is wrong with it if it is a livepatch.
fn examine(facts: &mut Facts, file: &str) -> Result<(Vec<u8>, Option<Vec<Finding>>)> {
    facts.look_beside(Path::new(file));
    let bytes = fs::read(file)?;
    let no_module = || Usage(format!("{file} is no module that can be read"));
    let findings = findings::of(facts, &bytes).with_context(no_module)?;
    Ok((bytes, findings))
}

/// Looks at each module, but for what the lines `MODULE GRADE` of `known` say; gives the exit status of the worst.
fn preflight(facts: &mut Facts, files: &[&str], known: &str, json: bool) -> Result<u8> {
    let known = listed(known);
    let mut worst = 0;
    let mut all = BTreeMap::new();
    for file in files {
        let (_, mut findings) = examine(facts, file)?;
        let name = name(file);
        let known = known.get(name.trim_end_matches(".ko")).copied();
        let mut grades = Grade::ALL.into_iter();
        let worst_known = grades.find(|grade| known == Some(grade.name()));
        if let Some(findings) = &mut findings {
            findings.retain(|finding| Some(finding.grade) > worst_known);
        }
        if !json {
            match &findings {
                None => println!("{name}: no livepatch"),
                Some(findings) if findings.is_empty() => {
                    println!("{name}: {}", known.unwrap_or("clean"));
                }
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

/// The words `MODULE GRADE` of a list's lines.
fn listed(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(str::split_whitespace);
    words
        .filter_map(|mut words| Some((words.next()?, words.next()?)))
        .collect()
}

/// Prints KTAP: is each livepatch clean but those in `list`, which has a line `MODULE GRADE …` for each? And what is said of those
/// that are damaged?
fn expect(facts: &mut Facts, list: &str, files: &[&str]) -> Result<u8> {
    let text = fs::read_to_string(list)?;
    let expected = listed(&text);
    let (mut failed, mut nr) = (0, 0);
    let mut case = |good: bool, name: String| {
        nr += 1;
        failed |= u8::from(!good);
        println!("{} {nr} {name}", if good { "ok" } else { "not ok" });
    };
    println!("KTAP version 1");
    let mut livepatches = Vec::new();
    let mut told = String::new();
    for file in files {
        let (bytes, Some(findings)) = examine(facts, file)? else {
            continue;
        };
        livepatches.push(bytes);
        let module = name(file).trim_end_matches(".ko");
        let wanted = expected.get(module).copied().unwrap_or("clean");
        let worst = findings.iter().map(|finding| finding.grade).max();
        let is = worst.map_or("clean", Grade::name);
        findings.iter().for_each(|finding| println!("# {finding}"));
        case(is == wanted, format!("{module} is {wanted}"));
        if module.starts_with("trouble_") && !findings.is_empty() {
            let lines = findings
                .iter()
                .map(|finding| format!("{module}.ko: {finding}\n"));
            let lines: String = lines.collect();
            told += &format!("# ANCHOR: {module}\n{lines}# ANCHOR_END: {module}\n");
        }
    }
    // The book's pages about trouble show it.
    let transcript = Path::new(list).with_file_name("expected/preflight.txt");
    if env::var_os("KLP_UPDATE_EXPECTED").is_some() {
        fs::write(&transcript, &told)?;
    }
    let same = fs::read_to_string(&transcript).is_ok_and(|expected| expected == told);
    case(same, format!("so says {}", transcript.display()));
    // What no build makes: test-preflight-verdict.sh makes the same.
    let older = format!("0{}", &facts.release[1..]);
    for (from, to, wanted) in [
        (facts.release.as_str(), older.as_str(), "it was built for 0"),
        ("klp_enable_patch", "klp_enable_potch", "nobody exports it"),
    ] {
        let mut bytes = livepatches.first().context("no livepatch")?.clone();
        while let Some(at) = bytes
            .windows(from.len())
            .position(|word| word == from.as_bytes())
        {
            bytes.splice(at..at + to.len(), to.bytes());
        }
        let findings = findings::of(facts, &bytes)?.unwrap_or_default();
        case(
            findings.iter().any(|f| f.what.starts_with(wanted)),
            format!("{to}: {wanted}"),
        );
    }
    // Without debug information; test-preflight-verdict.sh traces it.
    let seq_open = Code::Vmlinux(facts).inlined(&Object::Vmlinux, "seq_open")?;
    case(
        seq_open.into.contains_key("single_open") && seq_open.unsure.is_none(),
        "seq_open: its code is in single_open".to_owned(),
    );
    let number = |name: &str, usual| {
        env::var(name)
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(usual)
    };
    let (seconds, seed) = (number("KLP_DAMAGE_SECONDS", 60), number("KLP_SEED", 1));
    // The kernel's modules have BTF, ours have DWARF.
    let mut files = livepatches;
    if let Some(Code::Module(_, bytes)) = facts.code(&Object::new("virtio_net"))? {
        files.push(bytes);
    }
    files.push(facts::read(&facts.dir, "btf")?);
    let damaged = damage::run(facts, &files, Duration::from_secs(seconds), seed);
    println!("# seed {seed}");
    match &damaged {
        Ok([errors, answers]) => println!("# {errors} errors, {answers} answers"),
        Err(bytes) => {
            fs::write("target/preflight-damaged.ko", bytes)?;
            println!("# panics, or does not end: target/preflight-damaged.ko");
        }
    }
    case(
        damaged.is_ok(),
        "a damaged file is an error or an answer".to_owned(),
    );
    println!("1..{nr}");
    Ok(failed)
}

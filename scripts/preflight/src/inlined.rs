// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where else a function's code is. Of what has no debug information the file is compiled once more, by the compiler and the
//! configuration of the image.
//!
//! Without link-time optimisation what a `.c` file defines is inlined within that file alone. That the image has the same code is
//! seen by its symbols: those of the object are there, at the same distances. DWARF forgets a copy whose instructions were all
//! merged with others or left out. gcc's record of what it inlined has that, too, but not the only call of a static function,
//! nor what was split afterwards; so the two are read together.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use object::Object as _;
use object::ObjectSymbol as _;
use serde::Deserialize;
use serde::Serialize;

use crate::dwarf;
use crate::facts::Facts;
use crate::module;
use crate::symbols::Object;

/// A folder of modules whose only target is a file of the kernel's; what is made stays there.
const KBUILD: &str = "always-y := probe
$(obj)/probe: FORCE
\t@$(MAKE) -f $(srctree)/scripts/Makefile.build obj=$(KLP_FOLDER) need-builtin=1 KBUILD_EXTMOD= srcroot=$(srctree) \\
\t\tVPATH=$(srctree) $(KLP_OBJECT)
";

/// Where a function's code is beside itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inlined {
    /// The symbols, and from which call; [`MERGED`] where only gcc's record says so.
    pub into: BTreeMap<String, String>,
    /// Why there may be others.
    pub unsure: Option<String>,
}

/// In place of the call.
const MERGED: &str = "perhaps: no instruction is marked as its own";

/// Where the symbols of each name are; sections are far apart.
pub type Places = HashMap<String, Vec<u64>>;

/// Section, address and name of each function of an object.
type Functions = Vec<(usize, u64, String)>;

/// Where else the code of `function` is; what was found once is kept.
pub fn of(
    facts: &Facts,
    object: &Object,
    function: &str,
    places: impl FnOnce() -> Result<Places>,
) -> Result<Inlined> {
    let dir = facts.dir.join("inlined");
    let kept = dir.join(format!("{object}:{function}"));
    if let Ok(text) = fs::read(&kept) {
        return serde_json::from_slice(&text)
            .with_context(|| format!("reading {}", kept.display()));
    }
    let mut found = Inlined {
        unsure: Some("no .c file was found that defines it".to_owned()),
        ..Inlined::default()
    };
    let places = places()?;
    for file in files(facts, function)? {
        let file = file.display();
        eprintln!("compiling {file} to see into what {function} was inlined");
        // What is not configured need not compile.
        let (object, record) = match compile(&file.to_string()) {
            Ok(made) => made,
            Err(error) => {
                found.unsure = Some(format!("{error:#}"));
                continue;
            }
        };
        let elf = module::parse(&object)?;
        let info = dwarf::read(&elf, |name| name == function, true)?;
        if !info.prototypes.contains_key(function) {
            continue;
        }
        let functions = functions(&elf);
        let into = callers(function, &info.inlined, &record, &functions);
        let is_there = functions.iter().any(|(.., name)| base(name) == function);
        found.unsure = match differs(functions, &places) {
            Some(how) => Some(format!("{file} was compiled again, and {how}")),
            None if into.is_empty() && !is_there => Some(format!("{file} has nothing left of it")),
            None => None,
        };
        found.into = into;
        if found.unsure.is_none() {
            break;
        }
    }
    fs::create_dir_all(&dir)?;
    // Another may look for the same.
    let mut aside = tempfile::NamedTempFile::new_in(&dir).context("writing what was found")?;
    serde_json::to_writer(&mut aside, &found)?;
    aside.persist(&kept)?;
    Ok(found)
}

/// The files to compile for what looks like the definition: a `.c` file, or those that include it.
fn files(facts: &Facts, function: &str) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for place in facts.definitions.of(function)? {
        let file = Path::new(place.split(':').next().unwrap_or_default());
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
            continue;
        };
        if file.extension().is_none_or(|kind| kind != "c") {
            continue;
        }
        let name = name.to_string_lossy().replace('.', r"\.");
        let found = Command::new("grep")
            .args(["-rlE", "--include=*.c"])
            .arg(format!(r#"^#include "([^"]*/)?{name}""#))
            .arg(folder)
            .current_dir(&facts.source)
            .output()
            .context("starting grep")?;
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        match found.is_empty() {
            true => files.extend([file.to_owned()]),
            false => files.extend(found.lines().map(PathBuf::from)),
        }
    }
    Ok(files)
}

/// The object of a file of the kernel's with debug information, which changes no instruction, and gcc's record.
fn compile(file: &str) -> Result<(Vec<u8>, String)> {
    let make = env::var("KLP_MAKE").context("KLP_MAKE is not set: run it as `cargo xtask ask`")?;
    let dir = tempfile::tempdir().context("creating a folder for an object")?;
    let dir = dir.path();
    fs::write(dir.join("Kbuild"), KBUILD)?;
    let object = Path::new(file).with_extension("o");
    let folder = object.parent().unwrap_or(Path::new(""));
    let record = dir.join("record");
    let flags = match make.contains("LLVM=") {
        true => "-g".to_owned(),
        false => format!("-g -fopt-info-inline-optimized={}", record.display()),
    };
    let mut make = make.lines();
    let made = Command::new(make.next().unwrap_or_default())
        .args(make)
        .args(["M", "MO"].map(|name| format!("{name}={}", dir.display())))
        .arg(format!("KLP_FOLDER={}", folder.display()))
        .arg(format!("KLP_OBJECT={}", object.display()))
        .arg(format!("KCFLAGS={flags}"))
        .args(["--silent", "modules"])
        .output()
        .context("starting make")?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        let error = said.lines().find(|line| line.contains("rror"));
        bail!("{file} does not compile: {}", error.unwrap_or(&said));
    }
    let object = fs::read(dir.join(&object))?;
    Ok((object, fs::read_to_string(record).unwrap_or_default()))
}

/// Those of an object but the weak ones, of which the kernel may have others.
fn functions(elf: &module::File<'_>) -> Functions {
    let symbols = elf.symbols().filter(|symbol| !symbol.is_weak());
    let code = symbols.filter(|symbol| symbol.kind() == object::SymbolKind::Text);
    code.filter_map(|symbol| {
        let name = symbol.name().ok()?.to_owned();
        Some((symbol.section_index()?.0, symbol.address(), name))
    })
    .collect()
}

/// The function of the source that a symbol was made of.
pub fn base(symbol: &str) -> &str {
    symbol.split('.').next().unwrap_or(symbol)
}

/// The symbols that have the code of `function`: what DWARF tells, and where it came by way of others.
fn callers(
    function: &str,
    marked: &BTreeMap<(String, String), String>,
    record: &str,
    functions: &Functions,
) -> BTreeMap<String, String> {
    let mut into = BTreeMap::new();
    let direct = marked.iter().filter(|((callee, _), _)| callee == function);
    into.extend(direct.map(|((_, caller), call)| (caller.clone(), call.clone())));
    into.remove(function);
    // `…: Inlining f/1 into g/2.`
    let step = |line: &'_ str| {
        let (callee, caller) = line.split_once(" into ")?;
        let callee = callee.rsplit(' ').next()?.split('/').next()?;
        Some((
            base(callee).to_owned(),
            base(caller.split('/').next()?).to_owned(),
        ))
    };
    let mut steps: BTreeSet<(String, String)> = record.lines().filter_map(step).collect();
    steps.extend(
        marked
            .keys()
            .map(|(callee, caller)| (callee.clone(), base(caller).to_owned())),
    );
    let mut reached = vec![function.to_owned()];
    let mut next = 0;
    while let Some(callee) = reached.get(next).cloned() {
        next += 1;
        for (_, caller) in steps.iter().filter(|step| step.0 == callee) {
            if reached.contains(caller) {
                continue;
            }
            reached.push(caller.clone());
            if into.keys().any(|symbol| base(symbol) == caller) {
                continue;
            }
            let copies = functions.iter().map(|(.., name)| name);
            let copies = copies.filter(|name| base(name) == caller && !name.ends_with(".cold"));
            into.extend(copies.map(|name| (name.clone(), MERGED.to_owned())));
        }
    }
    into
}

/// How the functions of an object differ from what is linked of it, if they do.
fn differs(functions: Functions, places: &Places) -> Option<String> {
    let mut sections: BTreeMap<usize, Vec<(u64, String)>> = BTreeMap::new();
    for (section, at, name) in functions {
        sections.entry(section).or_default().push((at, name));
    }
    sections.into_values().find_map(|functions| {
        let all = |name: &str| places.get(name).into_iter().flatten();
        let (first, name) = &functions[0];
        let same = all(name).any(|base| {
            let is_there = |(at, name): &(u64, String)| {
                all(name).any(|place| place.wrapping_sub(*base) == at.wrapping_sub(*first))
            };
            functions.iter().all(is_there)
        });
        let missing = functions
            .iter()
            .find(|(_, name)| !places.contains_key(name));
        match missing {
            _ if same => None,
            Some((_, name)) => Some(format!("the image has no {name}")),
            None => Some(format!(
                "{name} and what is beside it lie otherwise in the image"
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(functions: &[(usize, u64, &str)]) -> Functions {
        let owned = |(section, at, name): &(usize, u64, &str)| (*section, *at, (*name).to_owned());
        functions.iter().map(owned).collect()
    }

    #[test]
    fn what_dwarf_forgets_the_record_has() {
        let pair = |callee: &str, caller: &str| (callee.to_owned(), caller.to_owned());
        let marked = BTreeMap::from([
            (pair("f", "g.part.0"), "x.c:1".to_owned()),
            (pair("once", "top"), "x.c:2".to_owned()),
        ]);
        let record = "x.c:1:2: optimized:  Inlining f/1 into g/2.\n\
                      x.c:3:2: optimized:  Inlined f/7 into once/3 which now has time 1\n";
        let functions = named(&[
            (1, 0, "g"),
            (1, 16, "g.part.0"),
            (1, 32, "top"),
            (2, 0, "top.cold"),
        ]);
        let into = callers("f", &marked, record, &functions);
        assert_eq!(
            into.into_iter().collect::<Vec<_>>(),
            [pair("g.part.0", "x.c:1"), pair("top", MERGED)]
        );
    }

    #[test]
    fn the_image_has_the_same_code_or_another() {
        let functions = || named(&[(1, 16, "f"), (1, 64, "f.isra.0"), (2, 0, "init")]);
        let places = |all: &[(&str, u64)]| {
            let all = all
                .iter()
                .map(|(name, at)| ((*name).to_owned(), vec![7, *at]));
            differs(functions(), &all.collect())
        };
        let same = [("f", 1016), ("f.isra.0", 1064), ("init", 5)];
        assert_eq!(places(&same), None);
        let clone = places(&[same[0], same[2]]);
        assert_eq!(clone.as_deref(), Some("the image has no f.isra.0"));
        let moved = places(&[same[0], ("f.isra.0", 1080), same[2]]);
        assert!(moved.is_some_and(|how| how.contains("otherwise")));
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `new NAME FUNCTION [OBJECT]`: a livepatch of that function that changes nothing until its author does, with its test and its
//! chapter; or, by `--kind`, the sample that is nearest under another name.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use anyhow::Result;
use fs_err as fs;

use crate::ask;
use crate::facts::Facts;
use crate::facts::Object;
use crate::kind;
use crate::recipe;
use crate::recipe::Wish;
use crate::Usage;

/// `@NAME@` and what stands there, in the order in which they are filled in: what is filled in may have others in it.
pub type Words = Vec<(&'static str, String)>;

/// The files of a sample's folder, and what its test and its chapter are filled with.
pub struct Sample {
    pub files: Vec<(String, String)>,
    pub words: Words,
}

/// Where the parts of a sample go.
pub struct Place<'a> {
    /// The checkout, or what looks like it.
    pub house: &'a Path,
    /// A folder of its own, with what it needs of the checkout.
    pub out: Option<&'a Path>,
}

const TEST: &str = include_str!("../template/test.sh.in");
const CHAPTER: &str = include_str!("../template/chapter.md.in");
const MAKEFILE: &str = include_str!("../template/alone/Makefile.in");

/// What a sample that stands alone needs of the checkout.
const NEEDED: [(&str, &str); 6] = [
    ("shared/klp/src", "klp/src"),
    ("shared/klp/klp.mk", "klp/klp.mk"),
    ("shared/klp/helpers.mk", "klp/helpers.mk"),
    ("shared/klp/bindings.h", "klp/bindings.h"),
    ("selftests/functions.sh", "functions.sh"),
    ("selftests/complaints", "complaints"),
];

/// The line of the summary that new chapters come before.
const AFTER_SAMPLES: &str = "- [From sample to your own patch](own-patch.md)\n";

/// Asks whether the function can be replaced, and makes the files if it can.
pub fn run(
    facts: &Facts,
    place: &Place<'_>,
    name: &str,
    wish: &Wish,
    object: Option<&str>,
) -> Result<bool> {
    let stem = stem(name)?;
    if wish.function.is_empty() {
        let object = Object::new(object.unwrap_or("vmlinux"));
        if facts.code(&object)?.is_none() {
            bail!("this kernel has no module {object}");
        }
        let sample = recipe::sample(facts, &stem, wish, &object, None)?;
        make(place, &stem, sample)?;
        tell(place, &stem, "write what the callbacks do");
        return Ok(true);
    }
    let answer = ask::run(facts, wish, object)?;
    if !answer.can {
        eprintln!("preflight: a livepatch cannot replace it as it is, so nothing was made");
        for caller in answer.callers {
            eprintln!(
                "  its code is in {caller}(): cargo xtask new {stem} {caller} {}",
                answer.object
            );
        }
        return Ok(false);
    }
    println!();
    let sample = recipe::sample(facts, &stem, wish, &answer.object, answer.source)?;
    make(place, &stem, sample)?;
    tell(place, &stem, "look for FIX");
    Ok(true)
}

/// Makes the sample that is nearest to `kind`, under another name.
pub fn of_kind(place: &Place<'_>, name: &str, kind: &str) -> Result<()> {
    let stem = stem(name)?;
    make(place, &stem, kind::sample(place.house, &stem, kind)?)?;
    tell(
        place,
        &stem,
        "give its states and shadow variables ids of their own, and look for FIX",
    );
    Ok(())
}

/// Says what was made and what comes next.
fn tell(place: &Place<'_>, stem: &str, first: &str) {
    let module = stem.replace('-', "_");
    match place.out {
        None => {
            println!("made samples/{stem}, selftests/test-{stem}.sh, book/src/samples/{stem}.md");
            println!("next: in samples/{stem} {first}, then");
            println!("  cargo xtask preflight {stem}\n  cargo xtask test {stem} --bless");
        }
        Some(out) => {
            println!("made {}, with the crate in klp", out.display());
            println!("next: in {module}.rs and beside it {first}, then, with what `cargo xtask kernel --make` prints behind `make`,");
            println!("  make\n  make test IMAGE=… KLP_UPDATE_EXPECTED=1");
        }
    }
}

/// A name as folders and files have it.
fn stem(name: &str) -> Result<String> {
    let stem = name.replace('_', "-");
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !stem.chars().all(good) || !stem.starts_with(|c: char| c.is_ascii_lowercase()) {
        bail!(Usage(format!("`{name}` cannot be the name of a sample: small letters, digits and dashes can, a letter first")));
    }
    Ok(stem)
}

/// A template with its words filled in.
pub fn fill(text: &str, words: &Words) -> String {
    words.iter().fold(text.to_owned(), |text, (word, value)| {
        text.replace(word, value)
    })
}

/// Makes the files; nothing is overwritten, and what was half-made is removed.
pub fn make(place: &Place<'_>, stem: &str, sample: Sample) -> Result<()> {
    let mut made = Vec::new();
    let done = match place.out {
        None => in_house(place.house, stem, sample, &mut made),
        Some(out) => alone(place.house, out, stem, sample, &mut made),
    };
    if let Err(error) = done {
        for path in made.iter().rev() {
            let _ = fs::remove_file(path);
            let _ = path.parent().map(fs::remove_dir);
        }
        return Err(error);
    }
    // What long lines become is rustfmt's business.
    let rust = made
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"));
    let _ = Command::new("rustfmt")
        .args(["--edition", "2021"])
        .args(rust)
        .status();
    Ok(())
}

fn in_house(house: &Path, stem: &str, sample: Sample, made: &mut Vec<PathBuf>) -> Result<()> {
    let module = stem.replace('-', "_");
    let main = format!("{module}.rs");
    let main = sample.files.iter().find(|(name, _)| *name == main);
    let includes = main
        .map_or("", |(_, text)| text)
        .lines()
        .filter_map(|line| line.strip_prefix("// ANCHOR: "));
    let includes = includes.map(|anchor| {
        format!("```rust,ignore\n{{{{#include ../../../samples/{stem}/{module}.rs:{anchor}}}}}\n```\n\n")
    });
    let mut words = sample.words;
    words.push(("@includes@", includes.collect()));
    words.push(("@xtask@", format!("#\n# xtask: modules={stem}\n")));

    for (name, text) in &sample.files {
        write(&house.join("samples").join(stem).join(name), text, made)?;
    }
    write_test(&house.join("selftests"), stem, &words, made)?;
    let chapter = house.join("book/src/samples").join(format!("{stem}.md"));
    write(&chapter, &fill(CHAPTER, &words), made)?;
    let summary = house.join("book/src/SUMMARY.md");
    let text = fs::read_to_string(&summary)?;
    let line = fill(&format!("  - [@title@](samples/{stem}.md)\n"), &words);
    let text = text.replacen(AFTER_SAMPLES, &(line + AFTER_SAMPLES), 1);
    Ok(fs::write(&summary, text)?)
}

fn alone(
    house: &Path,
    out: &Path,
    stem: &str,
    sample: Sample,
    made: &mut Vec<PathBuf>,
) -> Result<()> {
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} is there already, and not empty", out.display());
    }
    let mut words = sample.words;
    words.push(("@xtask@", String::new()));
    for (name, text) in &sample.files {
        match name.as_str() {
            // Cargo builds nothing here.
            "Cargo.toml" => {}
            "Makefile" => write(&out.join(name), &fill(MAKEFILE, &words), made)?,
            _ => write(
                &out.join(name),
                &text.replace("$(src)/../../shared/klp", "$(src)/klp"),
                made,
            )?,
        }
    }
    write_test(out, stem, &words, made)?;
    for (from, to) in NEEDED {
        copy(&house.join(from), &out.join(to), made)?;
    }
    Ok(())
}

fn write_test(folder: &Path, stem: &str, words: &Words, made: &mut Vec<PathBuf>) -> Result<()> {
    let test = folder.join(format!("test-{stem}.sh"));
    write(
        &test,
        &fill(TEST, words).replace("@shell@", "#!/bin/bash"),
        made,
    )?;
    let _ = Command::new("chmod").arg("+x").arg(test).status();
    Ok(())
}

fn write(path: &Path, text: &str, made: &mut Vec<PathBuf>) -> Result<()> {
    if path.exists() {
        bail!("{} is there already", path.display());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    made.push(path.to_owned());
    Ok(fs::write(path, text)?)
}

/// A file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    if !from.is_dir() {
        return write(to, &fs::read_to_string(from)?, made);
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()), made)?;
    }
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `new NAME FUNCTION [OBJECT]`: a livepatch of that function that changes nothing until its author does, with its test and its
//! chapter.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::ask;
use crate::facts::Facts;
use crate::facts::Object;
use crate::prototype::Pass;
use crate::prototype::Value;

/// Where each file goes, below the checkout, and what it is made of.
const FILES: [(&str, &str); 7] = [
    (
        "samples/@stem@/Cargo.toml",
        include_str!("../template/Cargo.toml.in"),
    ),
    (
        "samples/@stem@/Kbuild",
        include_str!("../template/Kbuild.in"),
    ),
    (
        "samples/@stem@/Makefile",
        include_str!("../template/Makefile.in"),
    ),
    (
        "samples/@stem@/bindings.h",
        include_str!("../template/bindings.h.in"),
    ),
    (
        "samples/@stem@/@module@.rs",
        include_str!("../template/recipe.rs.in"),
    ),
    (
        "selftests/test-@stem@.sh",
        include_str!("../template/test.sh.in"),
    ),
    (
        "book/src/samples/@stem@.md",
        include_str!("../template/chapter.md.in"),
    ),
];

/// What C takes for the name of an argument and Rust does not (edition 2021), and what the recipe itself calls so.
const KEYWORDS: [&str; 42] = [
    "abstract", "as", "async", "await", "become", "box", "crate", "dyn", "enum", "extern", "false",
    "final", "fn", "gen", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut",
    "original", "override", "priv", "pub", "ref", "self", "static", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "yield",
];

/// The line of the summary that new chapters come before.
const AFTER_SAMPLES: &str = "- [From sample to your own patch](own-patch.md)\n";

/// Asks whether the function can be replaced, and makes the files if it can.
pub fn run(
    facts: &Facts,
    root: &Path,
    name: &str,
    function: &str,
    object: Option<&str>,
) -> Result<bool> {
    let stem = name.replace('_', "-");
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !stem.chars().all(good) || !stem.starts_with(|c: char| c.is_ascii_lowercase()) {
        bail!("`{name}` cannot be the name of a sample: small letters, digits and dashes can, a letter first");
    }
    let answer = ask::run(facts, function, object)?;
    if !answer.can {
        eprintln!("preflight: a livepatch cannot replace it as it is, so nothing was made");
        return Ok(false);
    }
    println!();
    for path in make(facts, root, &stem, function, &answer.object, answer.source)? {
        println!(
            "made {}",
            path.strip_prefix(root).unwrap_or(&path).display()
        );
    }
    let module = stem.replace('-', "_");
    println!("next: look for FIX in samples/{stem}/{module}.rs, then");
    println!("  cargo xtask preflight {stem}\n  cargo xtask test {stem} --bless");
    Ok(true)
}

/// Makes the files; nothing is overwritten, and what was half-made is removed.
pub fn make(
    facts: &Facts,
    root: &Path,
    stem: &str,
    function: &str,
    object: &Object,
    source: Option<String>,
) -> Result<Vec<PathBuf>> {
    let words = words(facts, stem, function, object, source)?;
    let fill = |text: &str| {
        words.iter().fold(text.to_owned(), |text, (word, value)| {
            text.replace(word, value)
        })
    };
    let mut made = Vec::new();
    let files = FILES.iter().try_for_each(|(path, text)| {
        let path = root.join(fill(path));
        if path.exists() {
            bail!("{} is there already", path.display());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        fs::write(&path, fill(text)).with_context(|| format!("writing {}", path.display()))?;
        made.push(path);
        Ok(())
    });
    let done = files.and_then(|()| {
        let summary = root.join("book/src/SUMMARY.md");
        let text = fs::read_to_string(&summary).context("reading the book's summary")?;
        let line = fill("  - [@function@](samples/@stem@.md)\n");
        fs::write(
            &summary,
            text.replacen(AFTER_SAMPLES, &(line + AFTER_SAMPLES), 1),
        )
        .context("writing the book's summary")
    });
    if let Err(error) = done {
        for path in &made {
            let _ = fs::remove_file(path);
            let _ = path.parent().map(fs::remove_dir);
        }
        return Err(error);
    }
    let _ = Command::new("chmod")
        .arg("+x")
        .arg(root.join(fill("selftests/test-@stem@.sh")))
        .status();
    // What long lines become is rustfmt's business.
    let _ = Command::new("rustfmt")
        .args(["--edition", "2021"])
        .arg(root.join(fill("samples/@stem@/@module@.rs")))
        .status();
    Ok(made)
}

fn words(
    facts: &Facts,
    stem: &str,
    function: &str,
    object: &Object,
    source: Option<String>,
) -> Result<Vec<(&'static str, String)>> {
    let code = facts.code(object)?;
    let Some(prototype) = code.map_or(Ok(None), |code| code.prototype(function))? else {
        bail!("BTF does not have the prototype of {function}: copy a sample, and read the source");
    };
    let values = || prototype.arguments.iter().chain([&prototype.returns]);
    if let Some(value) = values().find(|v| matches!(v.pass, Pass::Bytes(_)) || v.rust.contains('?'))
    {
        bail!(
            "{function} passes a `{}` by value: copy a sample, and take the type from its header",
            value.text
        );
    }
    let is_variadic = prototype.arguments.iter().any(|a| a.pass == Pass::Nothing);
    if is_variadic {
        bail!("{function} takes any number of arguments, which no replacement in Rust can pass on: replace its callers");
    }
    let name = |i: usize, value: &Value| match value.name.as_str() {
        "" => format!("arg{i}"),
        word if KEYWORDS.contains(&word) => format!("{word}_"),
        name => name.to_owned(),
    };
    let named: Vec<(String, &str)> = prototype
        .arguments
        .iter()
        .enumerate()
        .map(|(i, a)| (name(i, a), a.rust.as_str()))
        .collect();
    let text = values()
        .map(|v| v.rust.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    let of = |prefix: &str| -> BTreeSet<String> {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
            .filter_map(|word| word.strip_prefix(prefix))
            .map(str::to_owned)
            .collect()
    };
    let types = of("bindings::");
    let ffi: Vec<String> = of("c_").into_iter().map(|t| format!("c_{t}")).collect();
    let imports = match ffi.as_slice() {
        [] => String::new(),
        [one] => format!("use kernel::ffi::{one};\n\n"),
        many => format!(
            "use kernel::ffi::{{\n    {}, //\n}};\n\n",
            many.join(",\n    ")
        ),
    };
    let declare = |t: &String| {
        let is = |kind: &str| values().any(|v| v.text.contains(&format!("{kind} {t}")));
        let kind = ["union", "enum"]
            .into_iter()
            .find(|kind| is(kind))
            .unwrap_or("struct");
        format!("{kind} {t};")
    };
    let declarations = match types.is_empty() {
        true => "#include <linux/types.h>".to_owned(),
        false => types.iter().map(declare).collect::<Vec<_>>().join("\n"),
    };
    let allow = types
        .iter()
        .map(|t| format!(" --allowlist-type {t}"))
        .collect();
    let returns = match prototype.returns.pass {
        Pass::Nothing => String::new(),
        _ => format!(" -> {}", prototype.returns.rust),
    };
    let join = |each: &dyn Fn(&(String, &str)) -> String| {
        named.iter().map(each).collect::<Vec<_>>().join(", ")
    };
    let (in_macro, target) = match object {
        Object::Vmlinux => ("vmlinux".to_owned(), None),
        Object::Module(module) => (format!("\"{module}\""), Some(module)),
    };
    let git = Command::new("git")
        .args(["config", "user.name"])
        .output()
        .ok();
    let author = git
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
        .filter(|a| !a.is_empty() && !a.contains('"'));
    Ok(vec![
        ("@shell@", "#!/bin/bash".to_owned()),
        ("@stem@", stem.to_owned()),
        ("@module@", stem.replace('-', "_")),
        ("@function@", function.to_owned()),
        ("@replacement@", format!("new_{function}")),
        ("@author@", author.unwrap_or_else(|| "You".to_owned())),
        (
            "@source@",
            source.unwrap_or_else(|| "source unknown".to_owned()),
        ),
        ("@imports@", imports),
        ("@object@", in_macro),
        ("@object_name@", object.to_string()),
        (
            "@targets@",
            target.map(|t| format!("\"{t}\"")).unwrap_or_default(),
        ),
        (
            "@load@",
            target
                .map(|t| format!("\trun modprobe {t}\n"))
                .unwrap_or_default(),
        ),
        ("@c@", prototype.c(function)),
        ("@entry@", prototype.rust(function)),
        (
            "@parameters@",
            join(&|(name, rust)| format!("{name}: {rust}")),
        ),
        ("@arguments@", join(&|(name, _)| name.clone())),
        ("@returns@", returns),
        ("@declarations@", declarations),
        ("@allow@", allow),
    ])
}

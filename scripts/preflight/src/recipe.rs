// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The recipe of a function: its replacement goes on in the original, with the signature from the kernel's types.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::bail;
use anyhow::Result;
use fs_err as fs;

use crate::facts::Facts;
use crate::facts::Object;
use crate::new::fill;
use crate::new::Sample;
use crate::new::Words;
use crate::prototype::Pass;
use crate::prototype::Value;
use crate::tables::CALLBACK_NAMES;
use crate::Usage;

/// The files of a sample, and what each is made of.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml.in")),
    ("Kbuild", include_str!("../template/Kbuild.in")),
    ("Makefile", include_str!("../template/Makefile.in")),
    ("bindings.h", include_str!("../template/bindings.h.in")),
    ("@module@.rs", include_str!("../template/recipe.rs.in")),
];

const FUNCTION: &str = include_str!("../template/function.rs.in");
const CALLBACKS: &str = include_str!("../template/callbacks.rs.in");
const STATEFUL: &str = include_str!("../template/stateful.rs.in");

/// What C takes for the name of an argument and Rust does not (edition 2021), and what the recipe itself calls so.
const KEYWORDS: [&str; 42] = [
    "abstract", "as", "async", "await", "become", "box", "crate", "dyn", "enum", "extern", "false",
    "final", "fn", "gen", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut",
    "original", "override", "priv", "pub", "ref", "self", "static", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "yield",
];

/// Which function, and what is wanted beside its replacement.
#[derive(Default)]
pub struct Wish {
    /// Empty where callbacks alone are wanted.
    pub function: String,
    /// Which of several symbols of that name; 0 for the only one.
    pub position: usize,
    callbacks: Vec<String>,
    /// What pre_patch finds is kept until post_unpatch.
    state: bool,
}

impl Wish {
    /// `function` may end in `@N`; `callbacks` has commas.
    pub fn new(function: &str, callbacks: &str, state: bool) -> Result<Wish> {
        let (function, position) = match function.split_once('@') {
            None => (function, 0),
            Some((function, position)) => match position.parse() {
                Ok(position @ 1..) => (function, position),
                _ => bail!(Usage(format!("{function}@{position}: a number follows the `@`, which counts the symbols of that name from 1 on"))),
            },
        };
        let mut callbacks = callbacks.to_owned();
        if state {
            callbacks += ",pre_patch,post_unpatch";
        }
        Ok(Wish {
            function: function.to_owned(),
            position,
            callbacks: callbacks
                .split(',')
                .filter(|c| !c.is_empty())
                .map(str::to_owned)
                .collect(),
            state,
        })
    }

    /// Sections of the macro, what the object's entry says, and the callbacks themselves.
    fn words(&self, stem: &str) -> Words {
        let letters = stem.bytes().filter(|byte| *byte != b'-').take(4);
        let id: String = letters.map(|byte| format!("{byte:02x}")).collect();
        let states = format!(
            "    states: [\n        /// A cumulative patch that does not know of the change is refused. No other patch may use the id.\n        static CHANGED: () = {{ id: 0x{id}, version: 1 }},\n    ],\n"
        );
        let unwanted = |paragraph: &&str| {
            let mut names = CALLBACK_NAMES.iter();
            names.any(|name| {
                paragraph.contains(&format!("fn {name}("))
                    && !self.callbacks.iter().any(|c| c == name)
            })
        };
        let text = if self.state { STATEFUL } else { CALLBACKS };
        let wanted: Vec<&str> = text.split("\n\n").filter(|p| !unwanted(p)).collect();
        let (entry, text) = match (self.callbacks.is_empty(), self.state) {
            (true, _) => ("", String::new()),
            (_, false) => ("            callbacks: Callbacks,\n", wanted.join("\n\n")),
            (_, true) => ("            stateful: Callbacks,\n", wanted.join("\n\n")),
        };
        let prelude = if text.is_empty() {
            ""
        } else {
            "use kernel::prelude::*;\n\n"
        };
        vec![
            ("@states@", if self.state { states } else { String::new() }),
            ("@names_callbacks@", entry.to_owned()),
            ("@callbacks@", text),
            ("@prelude@", prelude.to_owned()),
        ]
    }
}

/// The sample of a function of `object`.
pub fn sample(
    facts: &Facts,
    stem: &str,
    wish: &Wish,
    object: &Object,
    source: Option<String>,
) -> Result<Sample> {
    let mut words = wish.words(stem);
    match wish.function.as_str() {
        "" => words.extend(without_function(stem)),
        function => words.extend(of_function(facts, function, wish.position, object, source)?),
    }
    words.extend(common(stem, object));
    let files = FILES
        .iter()
        .map(|(name, text)| (fill(name, &words), fill(text, &words)));
    Ok(Sample {
        files: files.collect(),
        words,
    })
}

/// What stands for a function and what is said of it.
fn without_function(stem: &str) -> Words {
    [
        ("@title@", stem),
        ("@description@", "Change what callbacks change"),
        ("@what@", "What a user sees"),
        (
            "@does@",
            "As it was made it changes nothing, and its callbacks write a line each.",
        ),
        ("@functions@", ""),
        ("@replacement_of@", ""),
        ("@imports@", ""),
        ("@declarations@", "#include <linux/types.h>"),
        ("@allow@", ""),
    ]
    .map(|(word, text)| (word, text.to_owned()))
    .into()
}

/// What every sample has.
fn common(stem: &str, object: &Object) -> Words {
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
    let module = stem.replace('-', "_");
    // The guest loads the driver of its own network card.
    let load = |target| format!("\t[ -d /sys/module/{target} ] || load_mod {target}\n");
    let patched = format!("\texpect_file \"$KLP_SYSFS/{module}/{object}/patched\" 1\n");
    vec![
        ("@author@", author.unwrap_or_else(|| "You".to_owned())),
        ("@object@", in_macro),
        ("@patched@", patched),
        (
            "@targets@",
            target.map(|t| format!("\"{t}\"")).unwrap_or_default(),
        ),
        ("@load@", target.map(load).unwrap_or_default()),
        ("@stem@", stem.to_owned()),
        ("@modules@", module.clone()),
        ("@last@", module.clone()),
        ("@module@", module),
    ]
}

fn of_function(
    facts: &Facts,
    function: &str,
    position: usize,
    object: &Object,
    source: Option<String>,
) -> Result<Words> {
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
    let entry = match position {
        0 => prototype.rust(function),
        position => prototype.rust(&format!("{function} @ {position} ")),
    };
    let quoted = source
        .as_deref()
        .and_then(|at| quoted(&facts.source, at, function));
    let source = source.unwrap_or_else(|| "source unknown".to_owned());
    Ok(vec![
        ("@title@", format!("{function}()")),
        ("@description@", format!("Replace {function}()")),
        ("@what@", format!("What {function}() does")),
        ("@does@", format!("It replaces `{function}()` ({source}). As it was made it changes nothing: the replacement goes on in the\n//! original.")),
        ("@functions@", format!("            functions: [\n                // SAFETY: BTF declares `{}`.\n                {entry} as original = @replacement@,\n            ],\n", prototype.c(function))),
        ("@replacement_of@", FUNCTION.to_owned()),
        ("@original@", quoted.unwrap_or_default()),
        ("@function@", function.to_owned()),
        ("@replacement@", format!("new_{function}")),
        ("@imports@", imports),
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

/// The function as the kernel's tree has it at `source`, as a comment.
fn quoted(tree: &Path, source: &str, function: &str) -> Option<String> {
    let (file, line) = source.split_once(':')?;
    let text = fs::read_to_string(tree.join(file)).ok()?;
    let mut first = line.parse::<usize>().ok()?.checked_sub(1)?;
    // What it returns may stand on a line of its own.
    if text.lines().nth(first)?.starts_with(function) {
        first = first.checked_sub(1)?;
    }
    let lines = text.lines().skip(first);
    let length = lines.clone().position(|line| line == "}")? + 1;
    let lines = lines.take(length).map(|line| format!("//     {line}"));
    let lines: Vec<_> = lines.map(|line| line.trim_end().to_owned()).collect();
    Some(format!(
        "\n// The original, in {file}:\n//\n{}\n",
        lines.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_is_quoted_from_its_head_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let text =
            "int x;\n\nstatic int\nf(void)\n{\n\tif (x) {\n\t}\n\n\treturn 0;\n}\n\nint y;\n";
        fs::write(dir.path().join("a.c"), text).unwrap();
        let quote = quoted(dir.path(), "a.c:4", "f").unwrap();
        let body = "//     static int\n//     f(void)\n//     {\n//     \tif (x) {\n//     \t}\n//\n//     \treturn 0;\n//     }\n";
        assert_eq!(quote, format!("\n// The original, in a.c:\n//\n{body}"));
        assert_eq!(quoted(dir.path(), "a.c:12", "y"), None);
    }
}

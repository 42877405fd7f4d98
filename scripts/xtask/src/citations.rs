// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the book, the crate and the machine of the callbacks (`scripts/lifecycle`) say of the kernel's source, looked up in
//! the source of each kernel that is here: each file that is
//! named exists, each function that is named with a file is in it, and each constant that is named with a function in that.
//!
//! Named with a file is a function right before it, as in `f()` and `g()` (`kernel/x.c`), or after a colon, as in
//! `kernel/x.c`: `f()` …, to the end of the paragraph or the next file. `x.c` alone is the last file of that name on the page.
//! So is a test: `case_a` and `case_b` in `selftests/test-x.sh`. Named with a function is a constant right before it, as in
//! `EINVAL` of `f()` (`kernel/x.c`).

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use fs_err as fs;

use crate::kernel;
use crate::oops::pattern;
use crate::paths;
use crate::tidy;

/// The source of a kernel.
pub struct Tree {
    /// `7.2.12`.
    pub version: String,
    pub path: PathBuf,
}

/// The kernel's sources on this machine, the oldest first.
pub fn trees() -> Result<Vec<Tree>> {
    let mut trees: Vec<Tree> = fs::read_dir(paths::cache()?.join("source"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("kernel/livepatch/core.c").is_file())
        .filter_map(|path| {
            let version = kernel::source_version(&path)?;
            Some(Tree { version, path })
        })
        .collect();
    trees.sort_by_key(|tree| kernel::numbers(&tree.version));
    trees.dedup_by(|one, other| one.version == other.version);
    Ok(trees)
}

/// The kernels that this repository is tested with, and whose source is in none of `trees`.
pub fn not_here(trees: &[Tree]) -> Result<Vec<String>> {
    let of = |release: &str| kernel::numbers(release);
    let mut releases = kernel::tested()?;
    releases.retain(|release| !trees.iter().any(|tree| of(&tree.version) == of(release)));
    Ok(releases)
}

/// What the pages, the crate and the machine at `root` name, and `tree` has not.
pub fn missing(root: &Path, tree: &Tree) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for file in tidy::files(root)? {
        let end = file.extension().unwrap_or_default();
        let page = file.starts_with("book/src") && end == "md";
        let code = file.starts_with("shared/klp") || file.starts_with("scripts/lifecycle");
        if page || code && end == "rs" {
            let text = paths::read_lossy(&root.join(&file));
            let prose = if page { text } else { comments(&text) };
            for what in wrong(&prose, root, &tree.path) {
                complaints.push(format!("{}: {what}", file.display()));
            }
        }
    }
    Ok(complaints)
}

/// The comments of a source file; code parts their paragraphs.
fn comments(text: &str) -> String {
    text.lines()
        .map(|line| match line.trim_start().strip_prefix("//") {
            Some(words) => format!("{}\n", words.trim_start_matches(['/', '!'])),
            None => "\n".to_owned(),
        })
        .collect()
}

fn wrong(text: &str, root: &Path, tree: &Path) -> BTreeSet<String> {
    let code = pattern(r"`[^`]+`");
    let path = pattern(r"^([\w.-]+/)*[\w.-]+\.(c|h|S|rs|rst)$");
    let word = pattern(r"^\w+$");
    let case = pattern(r"^[a-z0-9_]+$");
    let constant = pattern(r"^(E[A-Z]{3,}|[A-Z][A-Z0-9]*(_[A-Z0-9]+)+)$");
    let mut found = BTreeSet::new();
    let mut files: Vec<&str> = Vec::new();
    for paragraph in text.split("\n\n").flat_map(|p| p.split("\n|")) {
        // Functions that wait for the file after them, where the last of them ends, and the file before a colon.
        let (mut waiting, mut end, mut before) = (Vec::new(), 0, None);
        let (mut cases, mut constants) = (Vec::new(), Vec::new());
        for found_name in code.find_iter(paragraph) {
            let gap = &paragraph[end..found_name.start()];
            let ends =
                gap.contains([';', ':', ')', '`']) || gap.contains(". ") || gap.contains(".\n");
            if gap.len() > 40 || ends {
                waiting.clear();
                cases.clear();
                constants.clear();
            } else if gap.contains('(') {
                cases.clear();
            }
            end = found_name.end();
            let name = found_name.as_str().trim_matches('`');
            if let Some(function) = name.strip_suffix("()").filter(|f| word.is_match(f)) {
                let of_it = std::mem::take(&mut constants);
                if let Some(file) = before {
                    found.extend(absent(tree, file, function, &of_it));
                }
                waiting.push((function, of_it));
            } else if constant.is_match(name) && !name.starts_with("CONFIG_") {
                constants.push(name);
            } else if case.is_match(name) {
                cases.push(name);
            } else if name.starts_with("selftests/test-") {
                let script = format!("\n{}", paths::read_lossy(&root.join(name)));
                let absent = cases
                    .drain(..)
                    .filter(|case| !script.contains(&format!("\n{case}()\n")));
                found.extend(absent.map(|case| format!("{name} has no {case}")));
            } else if path.is_match(name) {
                let short = files
                    .iter()
                    .rev()
                    .find(|f| f.ends_with(&format!("/{name}")));
                let Some(file) = short.copied().or(name.contains('/').then_some(name)) else {
                    continue;
                };
                let top = file.split('/').next().unwrap_or_default();
                if root.join(file).exists() || !tree.join(top).is_dir() {
                    continue;
                }
                if !tree.join(file).is_file() {
                    found.insert(format!("there is no {file}"));
                    continue;
                }
                files.push(file);
                for (function, constants) in waiting.drain(..) {
                    found.extend(absent(tree, file, function, &constants));
                }
                before = paragraph[end..].starts_with(':').then_some(file);
            }
        }
    }
    found
}

/// Is the function not in that file, or one of the constants not in the function?
fn absent(tree: &Path, file: &str, function: &str, constants: &[&str]) -> Option<String> {
    // Macros of assembly put names together: the first part of one may stand elsewhere.
    let part = match function.split_once('_') {
        Some((_, rest)) if file.ends_with(".S") => rest,
        _ => function,
    };
    let word = pattern(&format!(r"(\b|\)_){part}\b"));
    let text = paths::read_lossy(&tree.join(file));
    if !word.is_match(&text) {
        return Some(format!("{file} has no {function}()"));
    }
    let body = body(&text, function);
    let constant = constants
        .iter()
        .find(|constant| !pattern(&format!(r"\b{constant}\b")).is_match(body))?;
    Some(format!("{file}: {function}() has no {constant}"))
}

/// From a function's name to its end; the whole file, where it is none that is defined there.
fn body<'a>(text: &'a str, function: &str) -> &'a str {
    let head = pattern(&format!(r"(?m)^[A-Za-z_][^\n;{{}}]*\b{function}\("));
    let definition = head
        .find_iter(text)
        .map(|head| &text[head.start()..])
        .find(|rest| match (rest.find('{'), rest.find(';')) {
            (Some(begin), Some(end)) => begin < end,
            (begin, _) => begin.is_some(),
        });
    definition.map_or(text, |rest| &rest[..rest.find("\n}").unwrap_or(rest.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_tree_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("kernel/x")).unwrap();
        let source = "int good(void);\n\nint fine(void)\n{\n\treturn -EPERM;\n}\n\nint good(void)\n{\n\treturn -EBUSY;\n}\n";
        fs::write(tree.join("kernel/x/a.c"), source).unwrap();
        let text = "`good()` and\n`bad()` (`kernel/x/a.c`). `else()` is not.\n\n\
                    Linux, `kernel/x/a.c`: `fine()` calls\n`gone()`.\n\n| `worse()`, `a.c` |\n\
                    | `other()` | `kernel/x/b.c` |\n\n`helpers.c`, `book/x.c`, `good()` in `kernel/x`\n\n\
                    `EBUSY` in 7.2 by `good()`, or `EPERM` (`fine()`, `a.c`). `ENOMEM` of `fine()` (`a.c`); `EIO`. `fine()`, `a.c`\n\n\
                    See `one` and `two` in `selftests/test-a.sh`, `three`; of `selftests/test-a.sh`.\n";
        fs::create_dir_all(dir.path().join("selftests")).unwrap();
        fs::write(dir.path().join("selftests/test-a.sh"), "one()\n{\n}\n").unwrap();
        let found: Vec<_> = wrong(text, dir.path(), &tree).into_iter().collect();
        assert_eq!(
            found,
            [
                "kernel/x/a.c has no bad()",
                "kernel/x/a.c has no gone()",
                "kernel/x/a.c has no worse()",
                "kernel/x/a.c: fine() has no ENOMEM",
                "selftests/test-a.sh has no two",
                "there is no kernel/x/b.c"
            ]
        );
        assert_eq!(
            comments("/// `a()`\nfn b() {}\n    // c\n"),
            " `a()`\n\n c\n"
        );
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What book and crate say of the kernel's source, looked up there: each file that is named exists, and each function that
//! is named with a file is in it.
//!
//! Named with a file is a function right before it, as in `f()` and `g()` (`kernel/x.c`), or after a colon, as in
//! `kernel/x.c`: `f()` …, to the end of the paragraph or the next file. `x.c` alone is the last file of that name on the page.
//! So is a test: `case_a` and `case_b` in `selftests/test-x.sh`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;

use crate::oops::pattern;
use crate::paths;
use crate::tidy;
use crate::vm::read_lossy;

/// The kernel's sources on this machine.
pub fn trees() -> Result<Vec<PathBuf>> {
    Ok(fs::read_dir(paths::cache()?.join("source"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|tree| tree.join("kernel/livepatch/core.c").is_file())
        .collect())
}

/// What the pages and the crate at `root` name, and `tree` has not.
pub fn missing(root: &Path, tree: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for file in tidy::files(root)? {
        let end = file.extension().unwrap_or_default();
        let page = file.starts_with("book/src") && end == "md";
        if page || file.starts_with("shared/klp") && end == "rs" {
            let text = read_lossy(&root.join(&file));
            let prose = if page { text } else { comments(&text) };
            for what in wrong(&prose, root, tree) {
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
    let code = pattern(r"`([^`]+)`");
    let path = pattern(r"^([\w.-]+/)*[\w.-]+\.(c|h|S|rs|rst)$");
    let function = pattern(r"^(\w+)\(\)$");
    let case = pattern(r"^[a-z0-9_]+$");
    let mut found = BTreeSet::new();
    let mut files: Vec<&str> = Vec::new();
    for paragraph in text.split("\n\n").flat_map(|p| p.split("\n|")) {
        // Functions that wait for the file after them, where the last of them ends, and the file before a colon.
        let (mut waiting, mut end, mut before) = (Vec::new(), 0, None);
        let mut cases = Vec::new();
        for name in code.captures_iter(paragraph) {
            let (Some(all), Some(name)) = (name.get(0), name.get(1)) else {
                continue;
            };
            let gap = &paragraph[end..all.start()];
            if gap.len() > 40 || gap.contains(['.', ';', ':', ')', '`']) {
                waiting.clear();
                cases.clear();
            } else if gap.contains('(') {
                cases.clear();
            }
            end = all.end();
            let name = name.as_str();
            if let Some(function) = function.captures(name).and_then(|f| f.get(1)) {
                waiting.push(function.as_str());
                if let Some(file) = before {
                    found.extend(absent(tree, file, function.as_str()));
                }
            } else if case.is_match(name) {
                cases.push(name);
            } else if name.starts_with("selftests/test-") {
                let script = format!("\n{}", read_lossy(&root.join(name)));
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
                for function in waiting.drain(..) {
                    found.extend(absent(tree, file, function));
                }
                before = paragraph[end..].starts_with(':').then_some(file);
            }
        }
    }
    found
}

fn absent(tree: &Path, file: &str, function: &str) -> Option<String> {
    // Macros of assembly put names together: the first part of one may stand elsewhere.
    let part = match function.split_once('_') {
        Some((_, rest)) if file.ends_with(".S") => rest,
        _ => function,
    };
    let word = pattern(&format!(r"(\b|\)_){part}\b"));
    (!word.is_match(&read_lossy(&tree.join(file)))).then(|| format!("{file} has no {function}()"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_tree_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("kernel/x")).unwrap();
        fs::write(
            tree.join("kernel/x/a.c"),
            "int good(void);\nint fine(void);\n",
        )
        .unwrap();
        let text = "`good()` and\n`bad()` (`kernel/x/a.c`). `else()` is not.\n\n\
                    Linux, `kernel/x/a.c`: `fine()` calls\n`gone()`.\n\n| `worse()`, `a.c` |\n\
                    | `other()` | `kernel/x/b.c` |\n\n`helpers.c`, `book/x.c`, `good()` in `kernel/x`\n\n\
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

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The checks of what the book shows: its pages, and the lists and anchors that they include.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use crate::catalog::Sample;
use crate::oops::pattern;
use crate::paths;

/// What `new` asks its author for, in the words of its templates.
pub fn templates(root: &Path, samples: &[Sample]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Sample { stem, .. } in samples {
        let module = stem.replace('-', "_");
        // Of code what it says of itself; the rest may stay as it was made.
        for (template, begin, file) in [
            ("chapter.md", "", format!("book/src/samples/{stem}.md")),
            ("recipe.rs", "//! ", format!("samples/{stem}/{module}.rs")),
            (
                "test.sh",
                "@patched@\t# ",
                format!("selftests/test-{stem}.sh"),
            ),
        ] {
            let template = root.join(format!("scripts/preflight/template/{template}.in"));
            let template = paths::read_lossy(&template);
            let asked = template.lines().filter_map(|line| line.strip_prefix(begin));
            let asked = asked.filter(|text| text.contains(' ') && !text.contains('@'));
            let text = paths::read_lossy(&root.join(&file));
            let left = asked.filter(|asked| text.lines().any(|line| line.ends_with(asked)));
            complaints
                .extend(left.map(|left| format!("{file}: still says what `new` asks for: {left}")));
        }
    }
    complaints
}

/// mdBook passes over a page that its table of contents does not name.
pub fn chapters(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let summary = paths::read_lossy(&root.join("book/src/SUMMARY.md"));
    files
        .iter()
        .filter(|file| paths::ends_in(file, "md"))
        .filter_map(|file| file.strip_prefix("book/src").ok())
        .filter(|page| !page.ends_with("SUMMARY.md") && !page.starts_with("generated"))
        // What a page includes.
        .filter(|page| !page.to_string_lossy().ends_with("-table.md"))
        .filter(|page| !summary.contains(&format!("({})", page.display())))
        .map(|page| format!("book/src/SUMMARY.md does not list {}", page.display()))
        .collect()
}

/// The book shows the list of the library's words, so it must have all of them.
pub fn words(root: &Path) -> Vec<String> {
    let text = paths::read_lossy(&root.join("selftests/functions.sh"));
    let (before, after) = text
        .split_once("# ANCHOR_END: words")
        .unwrap_or((&text, ""));
    let list: BTreeSet<&str> = before.split([' ', ',', '\n', ';']).collect();
    let defined = pattern(r"(?m)^(\w+)\(\)");
    let defined = defined
        .captures_iter(after)
        .map(|found| found[1].to_owned());
    defined
        .filter(|name| !name.starts_with("klp__") && !list.contains(name.as_str()))
        .map(|name| format!("selftests/functions.sh: {name} is not in its list of words"))
        .collect()
}

/// mdBook prints nothing at all for an anchor that does not exist.
pub fn anchors(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let include =
        pattern(r"(?:^|[^\\])\{\{#(?:rustdoc_)?(?:include|playground)\s+([^}\s]+)[^}]*\}\}");
    let mut complaints = Vec::new();
    for page in files
        .iter()
        .filter(|f| f.starts_with("book") && paths::ends_in(f, "md"))
    {
        let text = paths::read_lossy(&root.join(page));
        let here = page.parent().unwrap_or(Path::new(""));
        for (nr, line) in text.lines().enumerate() {
            // `\{{#include` is how a page shows the syntax itself.
            for found in include.captures_iter(line) {
                if let Some(complaint) = wrong_include(root, here, &found[1]) {
                    complaints.push(format!("{}:{}: {complaint}", page.display(), nr + 1));
                }
            }
        }
    }
    complaints
}

/// What is wrong with an included `path[:anchor]`, if anything.
fn wrong_include(root: &Path, here: &Path, what: &str) -> Option<String> {
    let (path, anchor) = match what.split_once(':') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (what, None),
    };
    let file = root.join(here).join(path);
    if !file.is_file() {
        return Some(format!("{path} does not exist"));
    }
    let anchor = anchor?;
    if anchor.starts_with(|c: char| c.is_ascii_digit() || c == ':') {
        return Some(format!(
            "{what}: include by a named anchor, not by line numbers"
        ));
    }
    let text = paths::read_lossy(&file);
    for mark in ["ANCHOR:", "ANCHOR_END:"] {
        let there = text.lines().any(|line| {
            let words = line.split_once(mark).map(|(_, rest)| rest);
            words.is_some_and(|rest| rest.split_whitespace().next() == Some(anchor))
        });
        if !there {
            return Some(format!("{path} has no `{mark} {anchor}`"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;
    use crate::catalog::Livepatch;
    use crate::tidy::tests::checkout;

    #[test]
    fn what_a_template_asks_for_is_not_left() {
        let template = "# @title@\n\nBegin with the problem.\n\n```text\n";
        let sample = Sample {
            stem: "fix-it".to_owned(),
            description: "d".to_owned(),
            dir: "/s".into(),
            livepatch: Livepatch::default(),
        };
        let (dir, _) = checkout(&[
            ("scripts/preflight/template/chapter.md.in", template),
            (
                "scripts/preflight/template/recipe.rs.in",
                "//! What for.\n//! @does@\n",
            ),
            (
                "book/src/samples/fix-it.md",
                "# f()\n\nBegin with the problem.\n",
            ),
            ("samples/fix-it/fix_it.rs", "//! What for.\n//! For this.\n"),
        ]);
        let complaints = || templates(dir.path(), std::slice::from_ref(&sample)).len();
        assert_eq!(complaints(), 2);
        fs::write(
            dir.path().join("book/src/samples/fix-it.md"),
            "```text\nx\n",
        )
        .unwrap();
        assert_eq!(complaints(), 1);
    }

    #[test]
    fn a_word_of_the_tests_is_listed() {
        let library = "#   show CMD…\n# ANCHOR_END: words\nshow()\n{\nklp__x()\nnew_word()\n";
        let (dir, _) = checkout(&[("selftests/functions.sh", library)]);
        assert_eq!(
            words(dir.path()),
            ["selftests/functions.sh: new_word is not in its list of words"]
        );
    }

    #[test]
    fn an_anchor_that_is_not_there_is_found() {
        let page = "{{#include ../s/x.rs:one}}\n{{#include ../s/x.rs:two}}\n\
                    {{#include ../s/x.rs:on}}\n{{#include ../s/none.rs}}\n\
                    {{#include ../s/x.rs:3:4}}\n\\{{#include ../s/x.rs:shown}}\n\
                    {{#include ../s/x.rs}}\n";
        let source = "// ANCHOR: one\n// ANCHOR_END: one\n// ANCHOR: two\n";
        let (dir, files) = checkout(&[("book/p.md", page), ("s/x.rs", source)]);
        assert_eq!(
            anchors(dir.path(), &files),
            [
                "book/p.md:2: ../s/x.rs has no `ANCHOR_END: two`",
                "book/p.md:3: ../s/x.rs has no `ANCHOR: on`",
                "book/p.md:4: ../s/none.rs does not exist",
                "book/p.md:5: ../s/x.rs:3:4: include by a named anchor, not by line numbers",
            ]
        );
    }

    #[test]
    fn a_page_that_nobody_finds_is_found() {
        let (dir, files) = checkout(&[
            ("book/src/SUMMARY.md", "- [A](m/a.md)\n"),
            ("book/src/m/a.md", ""),
            ("book/src/a.md", ""),
        ]);
        assert_eq!(
            chapters(dir.path(), &files),
            ["book/src/SUMMARY.md does not list a.md"]
        );
    }
}

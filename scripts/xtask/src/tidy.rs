// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What belongs together is together: samples, tests, transcripts, chapters, licences.
//!
//! Each check is a test case of its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;

use crate::book;
use crate::catalog;
use crate::catalog::Sample;
use crate::citations;
use crate::error::Failure;
use crate::kernel_pages;
use crate::ktap::Case;
use crate::oops::pattern;
use crate::paths;
use crate::process;
use crate::rules;

/// The line that names a file's licence must be among the first few.
const SPDX_LINES: usize = 6;

/// `cargo xtask tidy`.
pub fn run() -> Result<()> {
    let checks = check(&paths::root())?.into_iter();
    let found: Vec<String> = checks.flat_map(|case| case.said).collect();
    for complaint in &found {
        println!("{complaint}");
    }
    if !found.is_empty() {
        println!("{} complaints", found.len());
        anyhow::bail!(Failure::TestFailed);
    }
    println!("tidy");
    Ok(())
}

/// All checks on the checkout at `root`.
pub fn check(root: &Path) -> Result<Vec<Case>> {
    let files = files(root)?;
    let mut checks = book_checks(root, &files)?;
    let mut check = |name: &str, complaints| checks.push(Case::from_complaints(name, complaints));
    let unlisted = kernel_pages::unlisted(root, &files);
    check("each patch to the kernel's pages is listed", unlisted);
    let not_compared = transcripts(root, &files);
    check("each transcript is compared by a test", not_compared);
    let stale = book::stale_pictures(root)?;
    check("each picture is that of its transcript", stale);
    let miscounted = rules::miscounted(root);
    check(
        "the page of the rules counts the edges that prove each",
        miscounted,
    );
    check("each word of the tests is in the book", words(root));
    check("each source file names its licence", licences(root, &files));
    check("no path of somebody's machine", machine_paths(root, &files));
    let trees = citations::trees()?;
    for tree in &trees {
        let linux = format!("Linux {}", tree.version);
        let missing = citations::missing(root, tree)?.into_iter();
        let missing = missing.map(|what| format!("{linux}: {what}")).collect();
        let cited = format!("what is cited of the kernel is there: {linux}");
        check(&cited, missing);
        let fit = format!("the patches to the kernel's pages fit: {linux}");
        check(&fit, kernel_pages::wrong(root, tree)?);
    }
    for release in citations::not_here(&trees)? {
        let cited = format!("what is cited of the kernel (not looked up in {release}: `cargo xtask kernel --kernel {release}` fetches its source)");
        check(&cited, Vec::new());
    }
    Ok(checks)
}

/// The checks without which the book would not tell the truth.
pub fn book_checks(root: &Path, files: &[PathBuf]) -> Result<Vec<Case>> {
    let samples = catalog::samples()?;
    Ok(vec![
        Case::from_complaints("each sample has all of its parts", parts(root, &samples)),
        Case::from_complaints("nothing of a template is left", templates(root, &samples)),
        Case::from_complaints("each chapter is listed", chapters(root, files)),
        Case::from_complaints("each included anchor exists", anchors(root, files)),
    ])
}

/// The files of the checkout, relative to it: what git has, and what it would take.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others"]);
    git.arg("--exclude-standard").current_dir(root);
    let listed = process::capture(&mut git)
        .context("listing the checkout's files: tidy needs git and a clone")?;
    let files: BTreeSet<PathBuf> = listed
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        // Deleted, but not committed yet.
        .filter(|name| root.join(name).is_file())
        .collect();
    Ok(files.into_iter().collect())
}

/// The shell files of the checkout, absolute.
pub fn shell_files(root: &Path) -> Result<Vec<PathBuf>> {
    let files = files(root)?.into_iter().map(|file| root.join(file));
    Ok(files.filter(|file| is_shell(file)).collect())
}

fn is_shell(file: &Path) -> bool {
    paths::ends_in(file, "sh") || pattern(r"^#!.*[/ ](ba|da)?sh\b").is_match(&first_line(file))
}

fn first_line(file: &Path) -> String {
    let text = paths::read_lossy(file);
    text.lines().next().unwrap_or_default().to_owned()
}

/// One stem everywhere.
fn parts(root: &Path, samples: &[Sample]) -> Vec<String> {
    let mut complaints = Vec::new();
    for sample in samples {
        let stem = &sample.stem;
        let module = stem.replace('-', "_");
        for file in [
            format!("samples/{stem}/Kbuild"),
            format!("samples/{stem}/Makefile"),
            format!("samples/{stem}/{module}.rs"),
            format!("selftests/test-{stem}.sh"),
            format!("selftests/expected/{stem}.log"),
            format!("book/src/samples/{stem}.md"),
        ] {
            if !root.join(&file).is_file() {
                complaints.push(format!("sample {stem}: {file} is missing"));
            }
        }
        let named = &sample.livepatch.module;
        if *named != module {
            let what = format!("module is {named}, not {module}");
            complaints.push(format!("samples/{stem}/Cargo.toml: {what}"));
        }
    }
    // A chapter without a sample tells of something that nobody builds, and a folder without metadata is no sample.
    let known = |stem: &str| stem == "index" || samples.iter().any(|s| s.stem == stem);
    for (folder, why) in [
        ("book/src/samples", "there is no such sample"),
        ("samples", "Cargo.toml has no [package.metadata.livepatch]"),
    ] {
        let entries = fs::read_dir(root.join(folder)).into_iter();
        for entry in entries.flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let stem = name.strip_suffix(".md").unwrap_or(&name);
            if (path.is_file() || path.join("Kbuild").is_file()) && !known(stem) {
                complaints.push(format!("{folder}/{name}: {why}"));
            }
        }
    }
    complaints
}

/// What `new` asks its author for, in the words of its templates.
fn templates(root: &Path, samples: &[Sample]) -> Vec<String> {
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
fn chapters(root: &Path, files: &[PathBuf]) -> Vec<String> {
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

/// A transcript that no test compares may say anything.
fn transcripts(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let below = |folder, extension| {
        let files = files.iter().filter(move |file| file.starts_with(folder));
        files.filter(move |file| paths::ends_in(file, extension))
    };
    let tests: String = below("selftests", "sh")
        .map(|file| paths::read_lossy(&root.join(file)))
        .collect();
    let compared = |file: &PathBuf| {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let check = pattern(&format!(r#"(?m)\bcheck_transcript\s+"?{stem}("|\s|$)"#));
        // The transcript of a guest that dies is compared by `test` itself.
        let script = root.join(format!("selftests/test-{stem}.sh"));
        check.is_match(&tests) || crate::test::is_fatal(&script)
    };
    below("selftests/expected", "log")
        .filter(|file| !compared(file))
        .map(|file| format!("{}: no test compares it (check_transcript)", file.display()))
        .collect()
}

/// The book shows the list of the library's words, so it must have all of them.
fn words(root: &Path) -> Vec<String> {
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
fn anchors(root: &Path, files: &[PathBuf]) -> Vec<String> {
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

/// What can carry a licence line and must.
fn wants_licence(root: &Path, file: &Path) -> bool {
    // Not kselftest's `settings`: its runner would take a comment for a setting.
    const NAMES: [&str; 4] = ["Kbuild", "Makefile", "config", ".gitignore"];
    const EXTENSIONS: [&str; 13] = [
        "rs", "c", "h", "S", "sh", "py", "toml", "config", "yml", "yaml", "js", "css", "mk",
    ];
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let extension = file.extension().unwrap_or_default().to_string_lossy();
    NAMES.contains(&name.as_ref())
        || EXTENSIONS.contains(&extension.as_ref())
        || first_line(&root.join(file)).starts_with("#!")
}

/// GPL-2.0 for what links into the kernel, for the rest a choice.
fn licences(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| wants_licence(root, file)) {
        let text = paths::read_lossy(&root.join(file));
        let licence = text
            .lines()
            .take(SPDX_LINES)
            .find_map(|line| line.split_once(concat!("SPDX-License", "-Identifier: ")))
            .map(|(_, rest)| rest.trim().trim_end_matches("*/").trim());
        let folders = ["samples", "shared", "selftests/modules"];
        let extension = file.extension().unwrap_or_default().to_string_lossy();
        let links = folders.iter().any(|folder| file.starts_with(folder))
            && ["rs", "c", "S", "h"].contains(&extension.as_ref());
        let wrong = match licence {
            None => format!("no SPDX line among the first {SPDX_LINES}"),
            Some(licence) if links && licence != "GPL-2.0" => {
                format!("links into the kernel, so its licence is GPL-2.0, not {licence}")
            }
            Some(licence) if !licence.starts_with("GPL-2.0") => {
                format!("the licence {licence} is none of ours")
            }
            Some(_) => continue,
        };
        complaints.push(format!("{}: {wrong}", file.display()));
    }
    complaints
}

/// Folders that only one machine has.
fn machine_paths(root: &Path, files: &[PathBuf]) -> Vec<String> {
    // In pieces, or this file would complain of itself.
    let of_a_machine = pattern(concat!(
        r#"(^|[\s"'=(:`])/("#,
        r"wor",
        r"k/|ro",
        r"ot/|ho",
        r"me/[a-z]|Us",
        r"ers/|tm",
        r"p/p/)"
    ));
    let mut complaints = Vec::new();
    for file in files {
        if file.ends_with("Cargo.lock") {
            continue;
        }
        let Ok(text) = fs::read_to_string(root.join(file)) else {
            continue;
        };
        for (nr, line) in text.lines().enumerate() {
            if of_a_machine.is_match(line) {
                complaints.push(format!("{}:{}: {}", file.display(), nr + 1, line.trim()));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Livepatch;

    /// A checkout with these files and texts.
    fn checkout(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (dir, files.iter().map(|(file, _)| file.into()).collect())
    }

    #[test]
    fn a_missing_part_is_named() {
        let sample = Sample {
            stem: "fix-it".to_owned(),
            livepatch: Livepatch {
                module: "fix_it".to_owned(),
                ..Livepatch::default()
            },
            ..Sample::default()
        };
        let (dir, _) = checkout(&[
            ("samples/fix-it/Kbuild", ""),
            ("samples/fix-it/Makefile", ""),
            ("samples/fix-it/fix_it.rs", ""),
            ("selftests/test-fix-it.sh", ""),
            ("selftests/expected/fix-it.log", ""),
            ("book/src/samples/fix-it.md", ""),
            ("book/src/samples/index.md", ""),
        ]);
        let complaints = || parts(dir.path(), std::slice::from_ref(&sample));
        assert_eq!(complaints(), Vec::<String>::new());
        fs::remove_file(dir.path().join("selftests/expected/fix-it.log")).unwrap();
        assert_eq!(
            complaints(),
            ["sample fix-it: selftests/expected/fix-it.log is missing"]
        );
        fs::write(dir.path().join("book/src/samples/gone.md"), "").unwrap();
        assert_eq!(
            complaints()[1..],
            ["book/src/samples/gone.md: there is no such sample"]
        );
        let none = parts(dir.path(), &[]);
        assert!(none.iter().any(|c| c.starts_with("samples/fix-it: ")));
    }

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
    fn a_transcript_wants_a_test() {
        let (dir, files) = checkout(&[
            ("selftests/test-a.sh", "\tcheck_transcript a mod\n"),
            ("selftests/expected/a.log", ""),
            ("selftests/expected/b.log", ""),
            ("selftests/test-c.sh", "# xtask: panic=Oops:\n"),
            ("selftests/expected/c.log", ""),
        ]);
        let complaints = transcripts(dir.path(), &files);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains("b.log"));
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

    #[test]
    fn licences_fit_the_place() {
        let spdx =
            |licence: &str| format!("// {}{licence}\n", concat!("SPDX-License", "-Identifier: "));
        let (dir, files) = checkout(&[
            ("samples/a/a.rs", &spdx("GPL-2.0")),
            ("samples/a/b.rs", &spdx("GPL-2.0 OR MIT")),
            ("scripts/c.rs", &spdx("GPL-2.0 OR MIT")),
            ("scripts/d", "#!/bin/sh\ntrue\n"),
            ("scripts/e.rs", &spdx("WTFPL")),
            ("data.bin", "x"),
        ]);
        let complaints = licences(dir.path(), &files);
        assert_eq!(complaints.len(), 3, "{complaints:#?}");
        assert!(complaints[0].starts_with("samples/a/b.rs"));
        assert!(complaints[1].starts_with("scripts/d"));
        assert!(complaints[2].starts_with("scripts/e.rs"));
    }

    #[test]
    fn machine_paths_are_found() {
        let bad = format!("cd /{}/x\n", concat!("ho", "me/joe"));
        let (dir, files) = checkout(&[
            ("a.md", &bad),
            ("b.md", "net/home/page, ~/.cache, /usr/src\n"),
            ("c.bin", "x"),
        ]);
        let complaints = machine_paths(dir.path(), &files);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].starts_with("a.md:1"));
    }
}

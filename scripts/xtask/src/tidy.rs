// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What belongs together is together: samples, tests, transcripts, chapters, licences.
//!
//! Each check is a test case of its own.

mod book;

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;

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
    let stale = crate::book::stale_pictures(root)?;
    check("each picture is that of its transcript", stale);
    let miscounted = rules::miscounted(root);
    check(
        "the page of the rules counts the edges that prove each",
        miscounted,
    );
    check("each word of the tests is in the book", book::words(root));
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
        Case::from_complaints(
            "nothing of a template is left",
            book::templates(root, &samples),
        ),
        Case::from_complaints("each chapter is listed", book::chapters(root, files)),
        Case::from_complaints("each included anchor exists", book::anchors(root, files)),
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
pub mod tests {
    use super::*;
    use crate::catalog::Livepatch;

    /// A checkout with these files and texts.
    pub fn checkout(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
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

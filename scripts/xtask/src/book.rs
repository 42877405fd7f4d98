// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask book`: the book, made of the files that the tests have checked.
//!
//! mdBook includes code by named anchors and transcripts from `selftests/expected/`. What nobody writes by hand lies in
//! `book/src/generated/`: the transcripts as pictures, the parameters and sysfs files of the built modules. It is kept in
//! the repository, so that mdBook alone can build a fresh clone; this command writes it anew, and a test tells when it is
//! stale. Only here the book has rustdoc of the crate as well, and each `klp::Item` in a text is a link to it. What
//! mdBook passes over in silence (an anchor or a link that leads nowhere, a sample without a chapter) is an error.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use regex::Captures;
use serde_json::Value;

use crate::cargo;
use crate::catalog;
use crate::cli::KernelArgs;
use crate::error::Failure;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::links;
use crate::oops::pattern;
use crate::paths;
use crate::picture;
use crate::process;
use crate::tables;
use crate::tidy;
use crate::vm;

/// What the chapters include and nobody writes.
const GENERATED: &str = "book/src/generated";

/// Below it, and not in the repository: rustdoc of the crate.
const API: &str = "book/src/generated/api";

/// `cargo xtask book`.
pub fn run(args: &KernelArgs, serve: bool) -> Result<()> {
    let root = paths::root();
    fs::create_dir_all(root.join(GENERATED))?;
    // The pictures first: they need nothing but the transcripts.
    for (file, text) in pictures(&root)? {
        write_new(&root.join(file), &text)?;
    }
    for file in leftovers(&root)? {
        fs::remove_file(root.join(&file))?;
    }
    check_pages(&root)?;
    let (file, text) = table(args)?;
    write_new(&root.join(file), &text)?;
    copy_api(args, &root)?;
    if serve {
        let mut command = mdbook(&root, "serve")?;
        vm::tell(&command);
        let status = process::status(&mut command)?;
        if !status.success() {
            bail!(Failure::Host(format!("mdbook serve ended with {status}")));
        }
        return Ok(());
    }
    build(mdbook(&root, "build")?, &pages())?;
    println!("book: {}", pages().join("index.html").display());
    Ok(())
}

/// The same for `cargo xtask test`: without a word on success, and nothing is written anew.
pub fn check(args: &KernelArgs) -> Result<()> {
    let root = paths::root();
    check_pages(&root)?;
    let (file, text) = table(args)?;
    if paths::read_lossy(&root.join(&file)) != text {
        bail!(Failure::Work(stale(&file)));
    }
    alone(&root)?;
    copy_api(args, &root)?;
    build(mdbook(&root, "build")?, &pages())
}

/// rustdoc of the crate becomes a part of the book, and nothing of an older one stays.
fn copy_api(args: &KernelArgs, root: &Path) -> Result<()> {
    let (from, to) = (cargo::doc(args)?, root.join(API));
    if to.exists() {
        fs::remove_dir_all(&to)?;
    }
    process::capture(Command::new("cp").arg("-rT").args([from, to])).map(drop)
}

/// mdBook alone builds what a fresh clone of this checkout would hold.
fn alone(root: &Path) -> Result<()> {
    let clone = tempfile::tempdir()?;
    for file in tidy::files(root)? {
        let to = clone.path().join(&file);
        fs::create_dir_all(to.parent().unwrap_or(&to))?;
        fs::copy(root.join(&file), &to)?;
    }
    let mut command = Command::new("mdbook");
    command.arg("build").arg(clone.path().join("book"));
    build(command, &clone.path().join("target/book")).context("a fresh clone, with mdBook alone")
}

/// Where the built pages are.
pub fn pages() -> PathBuf {
    paths::target().join("book")
}

/// What would make the book tell something else than the repository.
fn check_pages(root: &Path) -> Result<()> {
    let checks = tidy::book_checks(root, &tidy::files(root)?)?;
    let complaints: Vec<String> = checks.into_iter().flat_map(|case| case.said).collect();
    none("the book would not tell the truth", &complaints)
}

/// Each complaint is an error.
fn none(what: &str, complaints: &[String]) -> Result<()> {
    let said = || Failure::Work(format!("{what}:\n{}", complaints.join("\n")));
    ensure!(complaints.is_empty(), said());
    Ok(())
}

/// Each picture that a page includes, as its transcript makes it.
fn pictures(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let include = pattern(r"generated/([\w-]+)\.svg\}\}");
    let mut found = BTreeMap::new();
    for page in tidy::files(root)?
        .iter()
        .filter(|file| file.starts_with("book") && paths::ends_in(file, "md"))
    {
        for stem in include.captures_iter(&paths::read_lossy(&root.join(page))) {
            let stem = &stem[1];
            let log = format!("selftests/expected/{stem}.log");
            let transcript = fs::read_to_string(root.join(&log))?;
            let file = Path::new(GENERATED).join(stem).with_extension("svg");
            found
                .entry(file)
                .or_insert_with(|| picture::draw(&format!("Timeline of {stem}"), &transcript));
        }
    }
    Ok(found)
}

/// The pictures that no page includes any more.
fn leftovers(root: &Path) -> Result<Vec<PathBuf>> {
    let wanted = pictures(root)?;
    let mut files = tidy::files(root)?;
    files.retain(|file| file.starts_with(GENERATED) && paths::ends_in(file, "svg"));
    files.retain(|file| !wanted.contains_key(file));
    Ok(files)
}

/// For `tidy`: the pictures that are not those of their transcripts.
pub fn stale_pictures(root: &Path) -> Result<Vec<String>> {
    let wrong = pictures(root)?.into_iter();
    let wrong = wrong.filter(|(file, text)| paths::read_lossy(&root.join(file)) != *text);
    let files = wrong.map(|(file, _)| file).chain(leftovers(root)?);
    Ok(files.map(|file| stale(&file)).collect())
}

fn stale(file: &Path) -> String {
    format!(
        "{} is stale: `cargo xtask book` writes it anew, and then commit it",
        file.display()
    )
}

/// The table of the samples, read from their built modules.
fn table(args: &KernelArgs) -> Result<(PathBuf, String)> {
    let kernel = Kernel::ensure(args)?;
    let samples: Vec<String> = catalog::samples()?.into_iter().map(|s| s.stem).collect();
    kbuild::build(&kernel, &samples)?;
    let file = Path::new(GENERATED).join("samples.md");
    Ok((file, tables::samples(&kernel)?))
}

/// Run mdBook, and follow each link of the `pages` that it makes.
fn build(mut command: Command, pages: &Path) -> Result<()> {
    vm::tell(&command);
    let log = paths::target().join("xtask/book.log");
    fs::create_dir_all(log.parent().unwrap_or(&log))?;
    let (status, said) = process::transcript(&mut command, &log)?;
    // What it only warns of is an error here.
    let complaint = pattern(r"^\s*(WARN|ERROR|warning:|error:)|\[(WARN|ERROR)\]");
    if !status.success() || said.iter().any(|line| complaint.is_match(line)) {
        bail!(Failure::Work(format!(
            "the book has errors (log: {}):\n{}",
            log.display(),
            said.join("\n")
        )));
    }
    none("links of the book lead nowhere", &links::broken(pages)?)
}

fn mdbook(root: &Path, verb: &str) -> Result<Command> {
    let this = std::env::current_exe().context("finding this program")?;
    let this = process::quote(&this.to_string_lossy());
    let mut command = Command::new("mdbook");
    command
        .args([verb, "--dest-dir"])
        .args([pages(), root.join("book")])
        .env(
            "MDBOOK_PREPROCESSOR__API__COMMAND",
            format!("{this} book-api"),
        )
        // Before anything is included: listings are not touched.
        .env("MDBOOK_PREPROCESSOR__API__BEFORE", r#"["links"]"#);
    if let Some((project, edit)) = origin() {
        command
            .env("MDBOOK_OUTPUT__HTML__GIT_REPOSITORY_URL", project)
            .env("MDBOOK_OUTPUT__HTML__EDIT_URL_TEMPLATE", edit);
    }
    Ok(command)
}

/// `cargo xtask book-api`, mdBook's preprocessor: the items of the crate become links to their documentation.
pub fn link_items(supports: Option<&str>) -> Result<()> {
    if supports.is_some() {
        return Ok(());
    }
    let mut input: Value =
        serde_json::from_reader(io::stdin()).context("reading what mdBook sends")?;
    let pages = items(&paths::root().join(API).join("klp"));
    link_chapters(&mut input[1], &pages);
    serde_json::to_writer(io::stdout(), &input[1]).context("answering mdBook")
}

/// Item and page of each item that rustdoc found: `Shadow` and `struct.Shadow.html`.
fn items(folder: &Path) -> BTreeMap<String, String> {
    let pages = fs::read_dir(folder).into_iter().flatten().flatten();
    let pages = pages.filter_map(|entry| entry.file_name().into_string().ok());
    pages
        .filter_map(|page| {
            let (_, item) = page.strip_suffix(".html")?.split_once('.')?;
            Some((item.to_owned(), page.clone()))
        })
        .collect()
}

/// Walk what mdBook sends, wherever in it the chapters are.
fn link_chapters(book: &mut Value, pages: &BTreeMap<String, String>) {
    if let (Some(path), Some(text)) = (book["path"].as_str(), book["content"].as_str()) {
        let up = "../".repeat(Path::new(path).components().count() - 1);
        book["content"] = link_text(text, &up, pages).into();
    }
    match book {
        Value::Array(list) => list.iter_mut().for_each(|v| link_chapters(v, pages)),
        Value::Object(map) => map.values_mut().for_each(|v| link_chapters(v, pages)),
        _ => {}
    }
}

fn link_text(text: &str, up: &str, pages: &BTreeMap<String, String>) -> String {
    let item = pattern(r"(\[?)`klp::(\w+)[^`\n]*`");
    let linked = item.replace_all(text, |found: &Captures<'_>| match pages.get(&found[2]) {
        Some(page) if found[1].is_empty() => {
            format!("[{}]({up}generated/api/klp/{page})", &found[0])
        }
        _ => found[0].to_owned(),
    });
    linked.into_owned()
}

/// The project's page, and where a chapter is edited there, if this clone came from such a place.
fn origin() -> Option<(String, String)> {
    let git = |args: &[&str]| {
        let said = process::capture(Command::new("git").args(args).current_dir(paths::root()));
        Some(said.ok()?.trim().to_owned())
    };
    let project = web_address(&git(&["remote", "get-url", "origin"])?)?;
    let edit = edit_template(&project, &git(&["branch", "--show-current"])?);
    Some((project, edit))
}

/// A forge's page for a remote's address, without what somebody logs in with; a remote on this machine has none.
fn web_address(remote: &str) -> Option<String> {
    let address =
        pattern(r"^(?:(?:https|ssh)://(?:[^@/]*@)?([^/]+)/|git@([^:/]+):)(.+?)(?:\.git)?/*$");
    let found = address.captures(remote)?;
    let host = found.get(1).or(found.get(2))?.as_str();
    Some(format!("https://{host}/{}", &found[3]))
}

fn edit_template(project: &str, branch: &str) -> String {
    let branch = if branch.is_empty() { "main" } else { branch };
    let between = if project.contains("gitlab") { "/-" } else { "" };
    format!("{project}{between}/edit/{branch}/book/{{path}}")
}

/// Write `text` unless it is there already: `mdbook serve` looks at the time of a file.
fn write_new(file: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(file).ok().as_deref() == Some(text) {
        return Ok(());
    }
    Ok(fs::write(file, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_knows_where_it_is_edited() {
        for remote in [
            "https://forge.example/team/cookbook.git",
            "https://user:secret@forge.example/team/cookbook",
            "ssh://git@forge.example/team/cookbook.git",
            "git@forge.example:team/cookbook.git",
        ] {
            let project = web_address(remote).unwrap();
            assert_eq!(project, "https://forge.example/team/cookbook", "{remote}");
        }
        assert_eq!(web_address("/srv/git/cookbook.git"), None);
        assert_eq!(
            edit_template("https://forge.example/a/b", "next"),
            "https://forge.example/a/b/edit/next/book/{path}"
        );
        assert!(edit_template("https://gitlab.example/a/b", "").contains("/-/edit/main/"));
    }

    #[test]
    fn items_become_links_where_they_are_not_yet() {
        let pages = BTreeMap::from([("Shadow".to_owned(), "struct.Shadow.html".to_owned())]);
        let mut book = serde_json::json!({"items": [{"Chapter": {
            "path": "a/b.md",
            "content": "`klp::Shadow::get()`, [`klp::Shadow`](x.md), `klp::None`",
            "sub_items": [{"Chapter": {"path": "c.md", "content": "`klp::Shadow`"}}],
        }}]});
        link_chapters(&mut book, &pages);
        let chapter = &book["items"][0]["Chapter"];
        assert_eq!(
            chapter["content"],
            "[`klp::Shadow::get()`](../generated/api/klp/struct.Shadow.html), \
             [`klp::Shadow`](x.md), `klp::None`"
        );
        assert_eq!(
            chapter["sub_items"][0]["Chapter"]["content"],
            "[`klp::Shadow`](generated/api/klp/struct.Shadow.html)"
        );
    }

    #[test]
    fn a_stale_picture_and_one_too_many_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let git = Command::new("git").arg("init").arg("-q").arg(root).status();
        assert!(git.unwrap().success());
        for (file, text) in [
            ("book/src/p.md", "{{#include generated/a.svg}}"),
            ("selftests/expected/a.log", "% insmod a.ko\n"),
            ("book/src/generated/a.svg", "old"),
            ("book/src/generated/b.svg", "unused"),
        ] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), text).unwrap();
        }
        assert_eq!(stale_pictures(root).unwrap().len(), 2);
        for (file, text) in pictures(root).unwrap() {
            fs::write(root.join(file), text).unwrap();
        }
        assert_eq!(stale_pictures(root).unwrap().len(), 1);
        fs::remove_file(root.join("selftests/expected/a.log")).unwrap();
        assert!(stale_pictures(root).is_err());
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask book`: the book, made of the files that the tests have checked.
//!
//! mdBook includes code by named anchors and transcripts from `selftests/expected/`. Before it runs, what nobody
//! writes by hand is put into `book/src/generated/`: the transcripts as pictures, the parameters and sysfs files of
//! the built modules, rustdoc of the crate. mdbook-linkcheck2 follows every link. What mdBook passes over in silence
//! (an anchor that is not there, a sample without a chapter) is refused first, by the checks of `tidy`.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::cargo;
use crate::catalog;
use crate::cli::KernelArgs;
use crate::error;
use crate::error::Failure;
use crate::host;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::lock;
use crate::paths;
use crate::picture;
use crate::process;
use crate::results;
use crate::tables;
use crate::tidy;
use crate::vm;

/// What builds the book: package, which is also the program, and version.
const TOOLS: [(&str, &str); 2] = [("mdbook", "0.5.4"), ("mdbook-linkcheck2", "0.13.0")];

/// Where [`prepare`] puts what the chapters include and nobody writes.
const GENERATED: &str = "book/src/generated";

/// `cargo xtask book`.
pub fn run(args: &KernelArgs, serve: bool) -> Result<()> {
    let bin = prepare(args)?;
    if serve {
        let mut command = mdbook(&bin, "serve")?;
        vm::tell(&command);
        let status = process::status(&mut command)?;
        if !status.success() {
            bail!(Failure::Host(format!(
                "mdbook serve ended with {}",
                process::describe(status)
            )));
        }
        return Ok(());
    }
    build(&bin)?;
    println!("book: {}", pages().join("index.html").display());
    Ok(())
}

/// The same for `cargo xtask test`: without a word on success.
pub fn check(args: &KernelArgs) -> Result<()> {
    build(&prepare(args)?)
}

/// Where the built pages are.
pub fn pages() -> PathBuf {
    paths::target().join("book/html")
}

/// Everything before mdBook; the folder of its programs.
fn prepare(args: &KernelArgs) -> Result<PathBuf> {
    let complaints: Vec<String> = tidy::check(&paths::root())?
        .into_iter()
        .filter(|check| tidy::BOOK.contains(&check.name))
        .flat_map(|check| check.complaints)
        .chain(stale(&results::last()))
        .collect();
    if !complaints.is_empty() {
        bail!(Failure::Work(format!(
            "the book would not tell the truth:\n{}",
            complaints.join("\n")
        )));
    }
    let bin = tools()?;
    generate(args)?;
    Ok(bin)
}

/// The transcripts that the last run of their tests has found to be out of date.
fn stale(last: &results::Run) -> Vec<String> {
    let mut found: Vec<String> = last
        .suites
        .iter()
        .flat_map(|suite| &suite.cases)
        .flat_map(|case| &case.said)
        .filter_map(|line| line.split_once("the transcript differs from "))
        .map(|(_, name)| {
            format!("selftests/{name} is stale: its last test saw something else on the kernel")
        })
        .collect();
    found.dedup();
    found
}

/// Run mdBook with its link checker.
fn build(bin: &Path) -> Result<()> {
    let mut command = mdbook(bin, "build")?;
    vm::tell(&command);
    let log = paths::target().join("xtask/book.log");
    create(log.parent().unwrap_or(&log))?;
    let mut said = Vec::new();
    let status = process::logged(&mut command, &log, None, |line| said.push(line.to_owned()))?;
    let warned = said.iter().any(|line| is_complaint(line));
    if status.success() && !warned {
        return Ok(());
    }
    bail!(Failure::Work(format!(
        "the book has errors (log: {}):\n{}",
        log.display(),
        said.join("\n")
    )))
}

/// What mdBook only warns of is an error here.
fn is_complaint(line: &str) -> bool {
    let line = line.trim_start();
    ["WARN", "ERROR", "warning:", "error:"]
        .iter()
        .any(|word| line.starts_with(word) || line.contains(&format!("[{word}]")))
}

fn mdbook(bin: &Path, verb: &str) -> Result<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // The link checker is found by its name.
    let dirs = std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&path));
    let mut command = Command::new(bin.join("mdbook"));
    command
        .arg(verb)
        .arg(paths::root().join("book"))
        .arg("--dest-dir")
        .arg(paths::target().join("book"))
        .env("PATH", std::env::join_paths(dirs).context("setting PATH")?);
    if let Some((project, edit)) = origin() {
        command
            .env("MDBOOK_OUTPUT__HTML__GIT_REPOSITORY_URL", project)
            .env("MDBOOK_OUTPUT__HTML__EDIT_URL_TEMPLATE", edit);
    }
    Ok(command)
}

/// The project's page, and where a chapter is edited there, if this clone came from such a place.
fn origin() -> Option<(String, String)> {
    let git = |args: &[&str]| {
        process::capture(Command::new("git").args(args).current_dir(paths::root())).ok()
    };
    let remote = git(&["remote", "get-url", "origin"])?;
    let branch = git(&["branch", "--show-current"])?;
    let project = web_address(remote.trim())?;
    let edit = edit_template(&project, branch.trim());
    Some((project, edit))
}

/// A forge's page for a remote's address; a remote on this machine has none.
fn web_address(remote: &str) -> Option<String> {
    let rest = remote.trim_end_matches('/').trim_end_matches(".git");
    if let Some(rest) = rest.strip_prefix("https://") {
        // Never publish what somebody logs in with.
        let rest = rest.split_once('@').map_or(rest, |(_, host)| host);
        return Some(format!("https://{rest}"));
    }
    if let Some(rest) = rest.strip_prefix("ssh://") {
        let rest = rest.split_once('@').map_or(rest, |(_, host)| host);
        return Some(format!("https://{rest}"));
    }
    let (host, path) = rest.strip_prefix("git@")?.split_once(':')?;
    Some(format!("https://{host}/{path}"))
}

fn edit_template(project: &str, branch: &str) -> String {
    let branch = if branch.is_empty() { "main" } else { branch };
    let between = if project.contains("gitlab") { "/-" } else { "" };
    format!("{project}{between}/edit/{branch}/book/{{path}}")
}

/// The folder of the book's tools, which are installed when they are missing.
fn tools() -> Result<PathBuf> {
    let root = paths::cache()?.join("tools");
    if TOOLS.iter().any(|tool| !is_installed(&root, tool)) {
        create(&root)?;
        let _lock = lock::lock(
            &paths::cache()?.join("book.lock"),
            "installs the book's tools",
        )?;
        for tool in TOOLS.iter().filter(|tool| !is_installed(&root, tool)) {
            install(&root, tool)?;
        }
    }
    Ok(root.join("bin"))
}

fn is_installed(root: &Path, (package, version): &(&str, &str)) -> bool {
    host::version_text(root.join("bin").join(package)).is_ok_and(|text| text.contains(version))
}

fn install(root: &Path, (package, version): &(&str, &str)) -> Result<()> {
    eprintln!("install {package} {version}, once; this takes some minutes");
    let log = root.join(format!("{package}.log"));
    let mut command = cargo::command();
    command
        .args(["install", "--locked", "--version", version, package])
        .arg("--root")
        .arg(root)
        // An installation of its own, not a part of this workspace's build.
        .env_remove("CARGO_TARGET_DIR");
    let status = process::logged(&mut command, &log, None, |_| {})?;
    if !status.success() {
        bail!(error::host(format!(
            "{package} {version} cannot be installed by cargo; log: {}",
            log.display()
        )));
    }
    Ok(())
}

/// Write what nobody writes by hand.
fn generate(args: &KernelArgs) -> Result<()> {
    let to = paths::root().join(GENERATED);
    create(&to)?;
    let expected = paths::root().join("selftests/expected");
    for entry in
        fs::read_dir(&expected).with_context(|| format!("reading {}", expected.display()))?
    {
        let path = entry.context("reading the transcripts")?.path();
        if let Some(stem) = transcript(&path) {
            let title = format!("Timeline of {stem}");
            let picture = picture::draw(&title, &vm::read_lossy(&path));
            write_new(&to.join(format!("{stem}.svg")), &picture)?;
        }
    }
    let kernel = Kernel::ensure(args)?;
    let samples: Vec<String> = catalog::samples()?.into_iter().map(|s| s.stem).collect();
    kbuild::build(&kernel, &samples)?;
    write_new(&to.join("samples.md"), &tables::samples(&kernel)?)?;
    let api = cargo::doc(args)?;
    copy_folder(&api, &to.join("api"))
}

/// The stem of a transcript's file.
fn transcript(path: &Path) -> Option<&str> {
    let is_log = path.extension().is_some_and(|end| end == "log");
    path.file_stem()
        .filter(|_| is_log)
        .and_then(|stem| stem.to_str())
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

/// Write `text` unless it is there already: `mdbook serve` looks at the time of a file.
fn write_new(file: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(file).ok().as_deref() == Some(text) {
        return Ok(());
    }
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

/// Make `to` hold what `from` holds, as far as it is a page or belongs to one.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", to.display()));
        }
        _ => create(to)?,
    }
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let path = entry.context("reading rustdoc's pages")?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logs_are_transcripts() {
        assert_eq!(transcript(Path::new("a/b-c.log")), Some("b-c"));
        assert_eq!(transcript(Path::new("a/b.log.new")), None);
        assert_eq!(transcript(Path::new("a/README.md")), None);
    }

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
    fn a_warning_is_an_error() {
        for line in [
            " WARN mdbook_driver: file not found",
            "2026-01-01 00:00:00 [ERROR] (mdbook): broken",
            "warning: broken link",
        ] {
            assert!(is_complaint(line), "{line}");
        }
        assert!(!is_complaint(" INFO Book building has started"));
    }

    #[test]
    fn a_folder_is_copied_whole_and_holds_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a")).unwrap();
        fs::write(from.join("a/page.html"), "x").unwrap();
        fs::create_dir_all(&to).unwrap();
        fs::write(to.join("old.html"), "x").unwrap();
        copy_folder(&from, &to).unwrap();
        assert!(to.join("a/page.html").is_file());
        assert!(!to.join("old.html").exists());
    }

    #[test]
    fn a_stale_transcript_is_told_once() {
        let said = |text: &str| results::Case {
            said: vec![text.to_owned(); 2],
            ..results::Case::default()
        };
        let suite = |case| results::Suite {
            cases: vec![case],
            ..results::Suite::default()
        };
        let last = results::Run {
            suites: vec![
                suite(said("# the transcript differs from expected/x.log")),
                suite(said("# something else")),
            ],
            ..results::Run::default()
        };
        assert_eq!(stale(&last).len(), 1);
    }
}

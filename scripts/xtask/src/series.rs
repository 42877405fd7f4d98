// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask series`: the crate as patches against the kernel's own tree, out of the files that modules are built of here.
//!
//! In `target/series/` are the patches, a copy of the kernel's source with the series applied, the repository that the patches
//! come from, and a build; all of that of another kernel in a folder of its version below.

mod built;
mod recipe;
mod source;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use fs_err as fs;

use crate::cli::Choice;
use crate::cli::KernelArgs;
use crate::error::Failure;
use crate::kernel;
use crate::ktap::Case;
use crate::ktap::Verdict;
use crate::paths;
use crate::process;
use crate::test::host::function_case;
use recipe::Recipe;

/// The files of the series, and what it is made of.
struct Series {
    recipes: Vec<Recipe>,
    left_out: Recipe,
    /// The macros that the crate exports.
    macros: Vec<String>,
}

/// Is it of the crate, and not a module that uses it?
fn is_own(to: &str) -> bool {
    to.starts_with("rust/")
}

/// The file `from` of this checkout, which `to` is made of.
fn read(from: &str, to: &str) -> Result<String> {
    let path = paths::root().join(from);
    let text = fs::read_to_string(&path)?;
    match is_own(to) || !to.ends_with(".rs") {
        true => Ok(text),
        false => source::with_modules(&text, &path),
    }
}

/// The copy of a kernel's source that the series is for.
struct Tree {
    /// Holds the patches, and all that follows.
    dir: PathBuf,
    linux: PathBuf,
    /// Has only the files that the series touches; elsewhere, so that the kernel's build does not see it.
    git: PathBuf,
    /// Where the source came from.
    source: PathBuf,
}

fn folder() -> PathBuf {
    paths::root().join("scripts/series")
}

/// `cargo xtask series`.
pub fn run(args: &KernelArgs) -> Result<()> {
    made(args).map(drop)
}

/// The suite of that name: then each patch, and a kernel of all of them.
pub fn cases(args: &KernelArgs) -> Result<Vec<Case>> {
    let name = "the series is written, applies and is clean";
    let (tree, count) = match made(args) {
        Ok(made) => made,
        failed => return Ok(vec![function_case(name, failed.map(drop))?]),
    };
    let mut cases = vec![Case::new(name, Verdict::Pass)];
    cases.extend(built::cases(&tree, count)?);
    Ok(cases)
}

/// Writes, applies and checks the series; the tree, and how many patches there are.
fn made(args: &KernelArgs) -> Result<(Tree, usize)> {
    let series = Series::read()?;
    let tree = Tree::prepare(args, &series)?;
    print!("{}", series.difference()?);
    let patches = write(&series, &tree)?;
    apply(&tree, &patches)?;
    check(&tree, &patches)?;
    println!("{} patches: {}", patches.len(), tree.dir.display());
    Ok((tree, patches.len()))
}

impl Series {
    fn read() -> Result<Series> {
        let (recipes, left_out) = recipe::all(&folder())?;
        let mut macros = BTreeSet::new();
        for (from, _) in recipes.iter().flat_map(|recipe| &recipe.takes) {
            macros.extend(source::macros(&fs::read_to_string(
                paths::root().join(from),
            )?));
        }
        Ok(Series {
            recipes,
            left_out,
            macros: macros.into_iter().collect(),
        })
    }

    /// The file `from` in the words of the kernel's tree, as it is when the first `count` patches are applied.
    fn file(&self, from: &str, to: &str, count: usize) -> Result<String> {
        let mut text = read(from, to)?;
        if !to.ends_with(".rs") {
            return Ok(text);
        }
        let later = self.recipes[count..].iter().chain([&self.left_out]);
        for (_, pattern) in later
            .flat_map(|recipe| &recipe.parts)
            .filter(|part| part.0 == from)
        {
            source::cut(&mut text, pattern);
        }
        for (_, old, new) in self.changes(from) {
            text = text.replace(old, new);
        }
        text = source::translate(&text, &self.macros, is_own(to));
        if !is_own(to) {
            // The module's name is that of its file.
            let stem = |path: &str| {
                Path::new(path)
                    .file_stem()
                    .map(|stem| format!("\"{}\"", stem.to_string_lossy()))
            };
            text = text.replace(
                &stem(from).unwrap_or_default(),
                &stem(to).unwrap_or_default(),
            );
        }
        Ok(source::wrap(&text))
    }

    fn changes<'a>(&'a self, from: &'a str) -> impl Iterator<Item = &'a (String, String, String)> {
        let all = self.recipes.iter().chain([&self.left_out]);
        all.flat_map(|recipe| &recipe.changes)
            .filter(move |change| change.0 == from)
    }

    /// What the tree has otherwise than this checkout, beside paths and `use`; an error where something of it is not there.
    fn difference(&self) -> Result<String> {
        let mut all = String::new();
        let mut changed = 0;
        let mut left_out = BTreeMap::new();
        for (from, to) in self.recipes.iter().flat_map(|recipe| &recipe.takes) {
            let mut text = read(from, to)?;
            let parts = self.recipes.iter().flat_map(|recipe| &recipe.parts);
            for (_, pattern) in parts.filter(|part| part.0 == *from) {
                let found = text.lines().any(|line| pattern.is_match(line));
                ensure!(found, "scripts/series: no line of {from} matches {pattern}");
            }
            for (_, old, new) in self.changes(from) {
                ensure!(
                    text.contains(old),
                    "scripts/series: {from} does not have: {old}"
                );
                changed += 1;
                all += &format!("{from}\n-{}\n+{}\n", old.trim(), new.trim());
            }
            for (_, pattern) in self.left_out.parts.iter().filter(|part| part.0 == *from) {
                let lines = source::cut(&mut text, pattern);
                ensure!(
                    lines > 0,
                    "scripts/series: no line of {from} matches {pattern}"
                );
                *left_out.entry(from).or_insert(0) += lines;
            }
        }
        for (from, lines) in &left_out {
            all += &format!("{from}: {lines} lines left out\n");
        }
        Ok(all
            + &format!(
                "{changed} lines differ, {} are left out\n",
                left_out.values().sum::<usize>()
            ))
    }
}

impl Tree {
    /// The copy, without the series.
    fn prepare(args: &KernelArgs, series: &Series) -> Result<Tree> {
        let source = kernel::source_tree(args)?;
        let mut dir = paths::target().join("series");
        if args.choice() != Choice::Image(None) {
            dir.push(kernel::source_version(&source).context("a source without a version")?);
        }
        let tree = Tree {
            linux: dir.join("linux"),
            git: dir.join("git"),
            dir,
            source,
        };
        if !tree.linux.exists() {
            fs::create_dir_all(&tree.dir)?;
            let aside = tree.dir.join("copy");
            let mut copy = Command::new("cp");
            copy.args(["-a", "--reflink=auto"])
                .arg(&tree.source)
                .arg(&aside);
            process::capture(&mut copy)?;
            fs::rename(&aside, &tree.linux)?;
        }
        if tree.git.exists() {
            // What an earlier series has added goes, if it came so far.
            let _ = tree.git(&["checkout", "--quiet", "--force", "base"]);
            fs::remove_dir_all(&tree.git)?;
        }
        tree.git(&["init", "--quiet", "--initial-branch=series"])?;
        let files: BTreeSet<&str> = series
            .recipes
            .iter()
            .flat_map(|recipe| &recipe.adds)
            .map(|add| add.file.as_str())
            .collect();
        for file in &files {
            fs::copy(tree.source.join(file), tree.linux.join(file))?;
        }
        tree.git(&[vec!["add", "--force"], files.into_iter().collect()].concat())?;
        tree.git(&["commit", "--quiet", "--message=base"])?;
        tree.git(&["tag", "base"])?;
        Ok(tree)
    }

    fn git(&self, words: &[&str]) -> Result<String> {
        let mut git = Command::new("git");
        git.env("GIT_DIR", &self.git)
            .env("GIT_WORK_TREE", &self.linux);
        // The user's own ways are not for the tree.
        git.env("GIT_CONFIG_NOSYSTEM", "1")
            .args(["-c", "core.hooksPath=/dev/null"]);
        process::capture(git.args(words).current_dir(&self.linux))
    }

    /// What a command in the tree says, if it is not content.
    fn complaints(&self, command: &mut Command) -> Result<String> {
        let log = self.dir.join("check.log");
        let (status, said) = process::transcript(command.current_dir(&self.linux), &log)?;
        Ok(match status.success() {
            true => String::new(),
            false => said.join("\n") + "\n",
        })
    }
}

/// Makes the patches: a commit each, then files.
fn write(series: &Series, tree: &Tree) -> Result<Vec<PathBuf>> {
    let author = tree.git(&["var", "GIT_AUTHOR_IDENT"])?;
    let author = author.split_inclusive('>').next().unwrap_or_default();
    let message = tree.git.join("message");
    for (nr, recipe) in series.recipes.iter().enumerate() {
        let taken = series.recipes[..=nr]
            .iter()
            .flat_map(|recipe| &recipe.takes);
        let mut files = BTreeSet::new();
        for (from, to) in taken {
            let text = series.file(from, to, nr + 1)?;
            let file = tree.linux.join(to);
            fs::create_dir_all(file.parent().context("a file without a folder")?)?;
            fs::write(&file, text)?;
            fs::set_permissions(&file, fs::metadata(paths::root().join(from))?.permissions())?;
            files.insert(to.as_str());
        }
        let mut rustfmt = Command::new("rustfmt");
        rustfmt.args(files.iter().filter(|file| file.ends_with(".rs")));
        let bad = tree.complaints(&mut rustfmt)?;
        ensure!(bad.is_empty(), "{}:\n{bad}", recipe.name);
        for add in &recipe.adds {
            let file = tree.linux.join(&add.file);
            fs::write(&file, add.apply(&fs::read_to_string(&file)?, author)?)?;
            files.insert(&add.file);
        }
        fs::write(&message, &recipe.message)?;
        tree.git(&[vec!["add", "--force"], files.into_iter().collect()].concat())?;
        let from = format!("--file={}", message.display());
        tree.git(&["commit", "--quiet", "--signoff", &from])?;
    }
    for old in paths::files_in(&tree.dir, "patch")? {
        fs::remove_file(old)?;
    }
    let cover = format!(
        "--description-file={}",
        folder().join("cover.txt").display()
    );
    let out = format!("--output-directory={}", tree.dir.display());
    tree.git(&[
        "format-patch",
        "--quiet",
        "--cover-letter",
        "--cover-from-description=subject",
        &cover,
        &out,
        "base",
    ])?;
    let mut written = paths::files_in(&tree.dir, "patch")?;
    written.retain(|patch| !patch.ends_with("0000-cover-letter.patch"));
    Ok(written)
}

/// Applies the files to the tree as it was.
fn apply(tree: &Tree, patches: &[PathBuf]) -> Result<()> {
    tree.git(&["checkout", "--quiet", "--force", "-B", "applied", "base"])?;
    for patch in patches {
        tree.git(&["am", "--quiet", &patch.to_string_lossy()])?;
    }
    let other = tree.git(&["diff", "--stat", "series", "applied"])?;
    ensure!(
        other.is_empty(),
        "the patches are not what was committed:\n{other}"
    );
    Ok(())
}

/// checkpatch, rustfmt, and that each new file has a maintainer.
fn check(tree: &Tree, patches: &[PathBuf]) -> Result<()> {
    // Whether each new file belongs to somebody is asked below, of the tree with all patches.
    let mut checkpatch = Command::new("scripts/checkpatch.pl");
    checkpatch
        .args([
            "--strict",
            "--quiet",
            "--show-types",
            "--ignore=FILE_PATH_CHANGES",
        ])
        .args(patches);
    let mut bad = tree.complaints(&mut checkpatch)?;
    let new = tree.git(&["diff", "--name-only", "--diff-filter=A", "base", "applied"])?;
    let mut rustfmt = Command::new("rustfmt");
    rustfmt
        .arg("--check")
        .args(new.lines().filter(|file| file.ends_with(".rs")));
    bad += &tree.complaints(&mut rustfmt)?;
    for file in new.lines() {
        let mut who = Command::new("scripts/get_maintainer.pl");
        who.args([
            "--no-git",
            "--no-git-fallback",
            "--no-rolestats",
            "-f",
            file,
        ]);
        let who = process::capture(who.current_dir(&tree.linux))?;
        if !who.contains("live-patching@") {
            bad += &format!("{file} belongs to nobody\n");
        }
    }
    if !bad.is_empty() {
        bail!(Failure::Work(bad));
    }
    println!("checkpatch --strict, rustfmt and get_maintainer have nothing to say");
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The patches to the kernel's own documentation: one series, for the kernels that are here, and told of on a page.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;

use crate::citations::Tree;
use crate::paths::ends_in;
use crate::paths::read_lossy;
use crate::process;

const FOLDER: &str = "book/src/kernel-pages";
const PAGE: &str = "book/src/reference/kernel-pages.md";

/// Why the series would not be taken for `tree`: it does not apply, or the tree's own checkpatch has something to say.
pub fn wrong(root: &Path, tree: &Tree) -> Result<Vec<String>> {
    let series = series(root)?;
    let mut complaints = Vec::new();
    if let Err(error) = apply(&series, &tree.path) {
        complaints.push(error.to_string());
    }
    // It says on its standard output, a line each, what it has against a patch.
    let said = Command::new("scripts/checkpatch.pl")
        .args(["--strict", "--terse", "--no-summary"])
        .args(&series)
        .current_dir(&tree.path)
        .output()
        .context("running the kernel's checkpatch.pl")?;
    let lines = String::from_utf8_lossy(&said.stdout);
    complaints.extend(lines.lines().map(str::to_owned));
    if !said.status.success() && lines.is_empty() {
        complaints.push(format!("checkpatch.pl ended with {}", said.status));
    }
    let before = format!("{}/", root.display());
    let tell = |what: String| format!("Linux {}: {}", tree.version, what.replace(&before, ""));
    Ok(complaints.into_iter().map(tell).collect())
}

/// Would the series apply to this tree?
fn apply(series: &[PathBuf], tree: &Path) -> Result<()> {
    // As one stream: a patch counts on those before it.
    let whole = tempfile::NamedTempFile::new()?;
    let text: String = series.iter().map(|patch| read_lossy(patch)).collect();
    fs::write(&whole, text)?;
    let mut apply = Command::new("git");
    apply.args(["apply", "--check"]).arg(whole.path());
    // The cache may lie in somebody's repository.
    apply.env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(tree));
    process::capture(apply.current_dir(tree)).map(drop)
}

/// The patches, in their order.
fn series(root: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(root.join(FOLDER))?.flatten();
    let mut series: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    series.retain(|path| ends_in(path, "patch"));
    series.sort();
    Ok(series)
}

/// Patches that the page does not link to.
pub fn unlisted(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let page = read_lossy(&root.join(PAGE));
    files
        .iter()
        .filter(|file| file.starts_with(FOLDER))
        .filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned()))
        .filter(|name| !page.contains(&format!("(../kernel-pages/{name})")))
        .map(|name| format!("{PAGE} does not list {name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_that_does_not_fit_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let patch = |name: &str, old: &str, new: &str| {
            let file = dir.path().join(name);
            let text = format!("--- a/page\n+++ b/page\n@@ -1 +1 @@\n-{old}\n+{new}\n");
            fs::write(&file, text).unwrap();
            file
        };
        let series = [patch("1", "one", "two"), patch("2", "two", "three")];
        fs::write(dir.path().join("page"), "one\n").unwrap();
        apply(&series, dir.path()).unwrap();
        let said = apply(&series[1..], dir.path()).unwrap_err().to_string();
        assert!(said.contains("patch does not apply"), "{said}");
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The patches to the kernel's own documentation: one series, for the kernels that are here, and told of on a page.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::citations::Tree;
use crate::process;
use crate::vm::read_lossy;

const FOLDER: &str = "book/src/kernel-pages";
const PAGE: &str = "book/src/reference/kernel-pages.md";

/// Why the series would not be taken for `tree`: it does not apply, or the tree's own checkpatch has something to say.
pub fn wrong(root: &Path, tree: &Tree) -> Result<Vec<String>> {
    let linux = format!("Linux {}", tree.version);
    let series = series(root)?;
    let mut complaints = Vec::new();
    // As one stream: a patch counts on those before it.
    let whole = tempfile::NamedTempFile::new().context("a file for the series")?;
    let text: String = series.iter().map(|patch| read_lossy(patch)).collect();
    std::fs::write(&whole, text).context("writing the series")?;
    let mut apply = Command::new("git");
    apply.args(["apply", "--check"]).arg(whole.path());
    // The cache may lie in somebody's repository.
    let parent = tree.path.parent().unwrap_or(&tree.path);
    apply
        .env("GIT_CEILING_DIRECTORIES", parent)
        .current_dir(&tree.path);
    if let Err(error) = process::capture(&mut apply) {
        complaints.push(format!("{linux}: {error}"));
    }
    let mut check = Command::new("scripts/checkpatch.pl");
    check
        .args(["--strict", "--terse", "--no-summary"])
        .args(&series)
        .current_dir(&tree.path);
    // It says on its standard output, a line each, what it has against a patch.
    let said = check
        .output()
        .context("running the kernel's checkpatch.pl")?;
    let lines = String::from_utf8_lossy(&said.stdout);
    let before = format!("{}/", root.display());
    complaints.extend(lines.lines().map(|line| {
        let line = line.strip_prefix(&before).unwrap_or(line);
        format!("{linux}: {line}")
    }));
    if !said.status.success() && lines.is_empty() {
        complaints.push(format!("{linux}: checkpatch.pl ended with {}", said.status));
    }
    Ok(complaints)
}

/// The patches, in their order.
fn series(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join(FOLDER);
    let mut series: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "patch"))
        .collect();
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
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_series_that_does_not_fit_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (root, path) = (dir.path().join("root"), dir.path().join("tree"));
        let folder = root.join(FOLDER);
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(path.join("scripts")).unwrap();
        let patch =
            |old: &str, new: &str| format!("--- a/page\n+++ b/page\n@@ -1 +1 @@\n-{old}\n+{new}\n");
        fs::write(folder.join("1.patch"), patch("one", "two")).unwrap();
        fs::write(folder.join("2.patch"), patch("two", "three")).unwrap();
        let check = path.join("scripts/checkpatch.pl");
        fs::write(
            &check,
            "#!/bin/sh\nshift 3\n! grep -H four \"$@\" | sed 's/:/: /' | grep .\n",
        )
        .unwrap();
        fs::set_permissions(&check, fs::Permissions::from_mode(0o755)).unwrap();
        let version = "7.2".to_owned();
        let tree = Tree { version, path };

        fs::write(tree.path.join("page"), "one\n").unwrap();
        assert_eq!(wrong(&root, &tree).unwrap(), Vec::<String>::new());
        fs::write(folder.join("2.patch"), patch("two", "four")).unwrap();
        let said = wrong(&root, &tree).unwrap();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("Linux 7.2: book/src/kernel-pages/2.patch: "));
        fs::write(tree.path.join("page"), "two\n").unwrap();
        let said = wrong(&root, &tree).unwrap();
        assert!(said[0].contains("patch does not apply"), "{said:?}");

        fs::create_dir_all(root.join(PAGE).parent().unwrap()).unwrap();
        fs::write(root.join(PAGE), "[1](../kernel-pages/1.patch)").unwrap();
        let files = ["1.patch", "2.patch"].map(|name| Path::new(FOLDER).join(name));
        assert_eq!(
            unlisted(&root, &files),
            ["book/src/reference/kernel-pages.md does not list 2.patch"]
        );
    }
}

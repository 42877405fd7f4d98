// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The samples and the module folders of this checkout, as their manifests describe them.

use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use walkdir::WalkDir;

use crate::cargo;
use crate::error;
use crate::paths;

/// `[package.metadata.livepatch]` of a sample.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Livepatch {
    /// The module's name, without `.ko`.
    pub module: String,
    /// Modules to load before it: the kernel's own by name, or others that the sample builds.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Guest shell commands that come first.
    #[serde(default)]
    pub setup: Vec<String>,
    /// Guest shell commands whose output is the user-visible effect.
    #[serde(default)]
    pub show: Vec<String>,
    /// Which part of what `show` prints tells the effect: a pattern with one group.
    pub seen: String,
    /// What changed for a user, in a sentence with `{before}`, `{during}` and `{after}` for what was seen; the
    /// pattern must not match where the sentence names nothing.
    pub effect: String,
    /// Instead of load, disable, unload: commands in the words of `selftests/functions.sh`, where
    /// `effect` runs all of `show`. Any other command is typed as it is, and what it prints is shown.
    #[serde(default)]
    pub steps: Vec<String>,
    /// How many virtio network cards the virtual machine needs.
    #[serde(default)]
    pub nics: u32,
}

/// One recipe.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The folder's name below `samples/`, the same in book and selftests.
    pub stem: String,
    /// One line for people.
    pub description: String,
    pub dir: PathBuf,
    pub livepatch: Livepatch,
}

/// All samples, in the order of their names.
pub fn samples() -> Result<Vec<Sample>> {
    let mut found = Vec::new();
    for package in cargo::packages()? {
        let Some(livepatch) = package.metadata.get("livepatch") else {
            continue;
        };
        let manifest = &package.manifest_path;
        let livepatch = Livepatch::deserialize(livepatch)
            .with_context(|| format!("[package.metadata.livepatch] of {}", manifest.display()))?;
        let dir = package.dir().to_path_buf();
        let stem = dir.file_name().unwrap_or_default();
        found.push(Sample {
            stem: stem.to_string_lossy().into_owned(),
            description: package.description.unwrap_or_default(),
            dir,
            livepatch,
        });
    }
    found.sort_by(|a, b| a.stem.cmp(&b.stem));
    Ok(found)
}

/// The sample called `name`, or an error that lists those that exist.
pub fn sample(name: &str) -> Result<Sample> {
    let samples = samples()?;
    // A module's name is as good as the folder's.
    let stem = name.replace('_', "-");
    let names: Vec<_> = samples.iter().map(|s| s.stem.clone()).collect();
    samples
        .into_iter()
        .find(|s| s.stem == stem)
        .ok_or_else(|| unknown("sample", name, &names))
}

/// The error for a name that nothing has.
pub fn unknown(kind: &str, name: &str, names: &[String]) -> anyhow::Error {
    error::usage(format!(
        "there is no {kind} `{name}`; there are: {}",
        names.join(", ")
    ))
}

/// A folder with a `Kbuild` file, built in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFolder {
    /// How the user names it.
    pub name: String,
    pub source: PathBuf,
}

/// Everything that `cargo xtask build` builds: the samples, `selftests/modules`, which is called
/// `selftests`, and each folder below it that has a `Kbuild` file, called by its path: `c-twins`,
/// `naive-sysctl-update`.
pub fn module_folders() -> Result<Vec<ModuleFolder>> {
    let mut folders: Vec<_> = samples()?
        .into_iter()
        .map(|s| ModuleFolder {
            name: s.stem,
            source: s.dir,
        })
        .collect();
    let modules = paths::root().join("selftests/modules");
    for entry in WalkDir::new(&modules).sort_by_file_name() {
        let entry = entry?;
        let source = entry.path().parent().unwrap_or(&modules);
        if entry.file_name() == "Kbuild" {
            let below = source.strip_prefix(&modules).unwrap_or(source);
            let name = match below.to_string_lossy().replace('/', "-") {
                name if name.is_empty() => "selftests".to_owned(),
                name => name,
            };
            let source = source.to_owned();
            folders.push(ModuleFolder { name, source });
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::oops::pattern;

    #[test]
    fn the_book_has_each_key_and_no_other() {
        let words = |of: &str, text: &str| -> BTreeSet<String> {
            let found = pattern(of);
            let found = found.captures_iter(text);
            found.map(|word| word[1].to_owned()).collect()
        };
        let asked = serde_json::json!({ "no key": 0 });
        let keys = Livepatch::deserialize(asked).unwrap_err().to_string();
        let page = paths::root().join("book/src/reference/manifest.md");
        let page = std::fs::read_to_string(page).unwrap();
        assert_eq!(
            words(r"`(\w+)`", &keys),
            words(r"(?m)^\| `(\w+)` \|", &page)
        );
    }
}

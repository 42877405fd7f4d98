// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The scripts of `selftests/`, and what they need.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;

use crate::catalog;
use crate::paths;
use crate::vm::Clock;

/// A test script, and what it says that it needs, in comments at its top:
///
/// ```text
/// # xtask: modules=netdev-features,selftests nics=2 cpus=2 clock=real memory=2048 append=slub_debug
/// ```
///
/// `modules=` names module folders to build before; `modules=none` needs none of ours. A script that does not say gets
/// its sample's, or all if there is no such sample. `timeout=` is in seconds, in place of that of `selftests/settings`.
/// `clock=real` is for what needs processors that run at once; all else runs in virtual time, and has one processor.
/// `package=lifecycle` builds a program of this workspace before, which the script finds in its `PATH`.
/// `when=named` is left out where no pattern names it.
///
/// `shards=N` makes N suites of it, each with `KLP_SHARD=I/N`, from which the script knows what to leave to the others.
///
/// `panic=Oops:` is for a script that must end with the death of its kernel, and fails when the kernel lives; its log is
/// compared with `expected/<stem>.log`. Such a script must skip itself where `KLP_GUEST` is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// `rules`, or `faults 1/4` of a script in parts.
    pub name: String,
    pub stem: String,
    pub path: PathBuf,
    /// Module folders to build first; all of them when neither the script nor its name says.
    pub modules: Option<Vec<String>>,
    /// A package whose program the script starts.
    pub package: Option<String>,
    /// Only when a pattern names it.
    pub named: bool,
    pub clock: Clock,
    pub nics: Option<u32>,
    pub cpus: Option<u32>,
    pub memory_mib: Option<u32>,
    pub timeout: Option<Duration>,
    /// Words for the kernel's command line.
    pub append: Vec<String>,
    pub shards: Option<u32>,
    pub shard: u32,
    /// What else its environment has.
    pub exports: Vec<(&'static str, String)>,
    /// The guest must die with a complaint that contains this.
    pub panic: Option<String>,
}

impl Script {
    /// What the text of a script says of itself.
    fn read(text: &str) -> Script {
        let mut script = Script::default();
        let words = text
            .lines()
            .take_while(|line| line.starts_with('#') || line.is_empty())
            .filter_map(|line| line.strip_prefix("# xtask:"))
            .flat_map(str::split_whitespace);
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let number = || value.parse().ok();
            match key {
                "modules" => {
                    let names = value.split(',').filter(|name| *name != "none");
                    let modules = script.modules.get_or_insert_default();
                    modules.extend(names.map(str::to_owned));
                }
                "nics" => script.nics = number(),
                "cpus" => script.cpus = number(),
                "memory" => script.memory_mib = number(),
                "shards" => script.shards = number(),
                "timeout" => script.timeout = value.parse().ok().map(Duration::from_secs),
                "append" => script.append.push(value.to_owned()),
                "package" => script.package = Some(value.to_owned()),
                "panic" => script.panic = Some(value.to_owned()),
                "clock" if value == "real" => script.clock = Clock::Real,
                "when" => script.named = value == "named",
                _ => {}
            }
        }
        script
    }

    /// It once, or its parts.
    fn parts(self) -> Vec<Script> {
        let Some(count) = self.shards else {
            return vec![self];
        };
        (1..=count)
            .map(|shard| Script {
                name: format!("{} {shard}/{count}", self.stem),
                shard,
                ..self.clone()
            })
            .collect()
    }

    /// What it takes where it never ran before, in seconds.
    pub fn guess(&self) -> u64 {
        match self.stem.as_str() {
            "faults" | "lifecycle" | "soak" => 250,
            "upstream-rust" | "asm-trampoline" => 120,
            _ => 60,
        }
    }
}

/// Does this script say that its kernel must die?
pub fn is_fatal(script: &Path) -> bool {
    Script::read(&paths::read_lossy(script)).panic.is_some()
}

/// The test scripts below `root`, in the order of their names.
pub fn all(root: &Path) -> Result<Vec<Script>> {
    let samples = catalog::samples()?;
    let folders = catalog::module_folders()?;
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("selftests"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_prefix("test-");
        let Some(stem) = stem.and_then(|stem| stem.strip_suffix(".sh")) else {
            continue;
        };
        let mut script = Script::read(&paths::read_lossy(&path));
        script.name = stem.to_owned();
        script.stem = stem.to_owned();
        if script.modules.is_none() && folders.iter().any(|folder| folder.name == stem) {
            script.modules = Some(vec![stem.to_owned()]);
        }
        let of_sample = samples.iter().find(|sample| sample.stem == stem);
        script.nics = script.nics.or(of_sample.map(|s| s.livepatch.nics));
        script.path = path;
        found.extend(script.parts());
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read_from_the_top_only() {
        let script = Script::read(
            "#!/bin/bash\n# SPDX\n#\n# xtask: modules=a,b nics=2 append=x=y nonsense\n\
             # xtask: cpus=zwei\n\nset -u\n# xtask: nics=7\n",
        );
        assert_eq!(script.modules, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(script.nics, Some(2));
        assert_eq!(script.cpus, None);
        assert_eq!(script.append, ["x=y"]);
        let script = Script::read("# xtask: modules=none panic=Oops: when=named\n");
        assert_eq!(script.modules, Some(vec![]));
        assert_eq!(script.panic.as_deref(), Some("Oops:"));
        assert!(script.named && script.clock == Clock::Virtual);
        let script = Script::read("# xtask: clock=real timeout=90 shards=2\n");
        assert_eq!(script.timeout, Some(Duration::from_secs(90)));
        assert!(script.modules.is_none() && script.clock == Clock::Real);
        assert_eq!(script.parts().len(), 2);
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What `preflight` says of livepatches, and what the kernel says of them: who is not refused by the one is loaded by the other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;

use crate::examine;
use crate::facts::Facts;
use crate::findings::Finding;
use crate::findings::Grade;
use crate::module;
use crate::symbols::Object;
use crate::tables::Image;
use crate::xtask;

/// Loads them in a guest, which prints what came of it.
const TRY: &str = include_str!("try.py");

/// What dies, or hangs, where it is loaded and removed by itself, and the test that shows it.
const DEADLY: [(&str, &str); 2] = [
    ("claims_panic", "test-claims-panic.sh"),
    ("naive_deferred_work", "test-naive-deferred-work.sh"),
];

/// What the log says where a livepatch refused itself, of which nobody can know before.
const OWN: [&str; 2] = ["pre-patch callback failed", "klp: built for the kernel"];

/// A livepatch, and what both say of it.
pub struct Livepatch {
    file: PathBuf,
    /// What it is of: a function, a folder.
    pub of: String,
    findings: Vec<Finding>,
    /// What is loaded before it.
    targets: Vec<String>,
    /// `ok`, `stuck` or an errno, and the kernel's log where it is not `ok`.
    loaded: Option<(String, String)>,
    removed: bool,
}

impl Livepatch {
    /// Looks at a file; `None` where it is none.
    pub fn look(facts: &mut Facts, file: &Path, of: &str) -> Result<Option<Livepatch>> {
        let (bytes, Some(findings)) = examine(facts, &file.to_string_lossy())? else {
            return Ok(None);
        };
        let info = module::modinfo(&bytes)?;
        let image = Image::new(module::parse(&bytes)?)?;
        let tables = image.tables(facts.sizes()?)?;
        let depends = info.iter().filter(|(key, _)| key == "depends");
        let mut targets: Vec<String> = depends
            .flat_map(|(_, names)| names.split(','))
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        for patched in module::patched(&info, &image, &tables)? {
            if let Object::Module(name) = patched.object {
                targets.extend((!targets.contains(&name)).then_some(name));
            }
        }
        for target in &mut targets {
            let beside = file.with_file_name(format!("{target}.ko"));
            if beside.is_file() {
                *target = beside.display().to_string();
            }
        }
        Ok(Some(Livepatch {
            file: file.to_owned(),
            of: of.to_owned(),
            findings,
            targets,
            loaded: None,
            removed: false,
        }))
    }

    pub fn name(&self) -> String {
        let stem = self.file.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }

    fn grade(&self) -> Option<Grade> {
        self.findings.iter().map(|finding| finding.grade).max()
    }

    /// Preflight's word.
    pub fn said(&self) -> &'static str {
        self.grade().map_or("clean", Grade::name)
    }

    /// The test to which it is left.
    fn left_to(&self) -> Option<&'static str> {
        let deadly = DEADLY.iter().find(|(name, _)| self.name() == *name);
        match self.grade() {
            Some(Grade::Wrong) => Some("test-preflight-verdict.sh"),
            _ => deadly.map(|(_, test)| *test),
        }
    }

    /// The kernel's word.
    pub fn kernel(&self) -> String {
        match (&self.loaded, self.left_to()) {
            (_, Some(test)) => format!("left to {test}"),
            (None, None) => "did not come to it".to_owned(),
            (Some((said, _)), _) if said == "ok" => "loaded".to_owned(),
            (Some((said, _)), _) if said == "stuck" => {
                "loaded, and not every task moves".to_owned()
            }
            (Some((errno, _)), _) if self.says_no() => format!("{errno}, by its own code"),
            (Some((errno, _)), _) => errno.clone(),
        }
    }

    /// Was it the livepatch itself that refused?
    fn says_no(&self) -> bool {
        let log = self.loaded.as_ref().map_or("", |(_, log)| log.as_str());
        OWN.iter().any(|words| log.contains(words))
    }

    pub fn agrees(&self) -> bool {
        let Some((kernel, _)) = &self.loaded else {
            return self.left_to().is_some();
        };
        match self.grade() {
            None | Some(Grade::Warning) => kernel == "ok" || self.says_no(),
            Some(_) => kernel != "ok" && kernel != "stuck",
        }
    }

    /// Was it loaded, and taken away again?
    pub fn came_and_went(&self) -> bool {
        self.removed && self.loaded.as_ref().is_some_and(|(said, _)| said == "ok")
    }

    /// Both, in full.
    pub fn tell(&self) {
        self.findings
            .iter()
            .for_each(|finding| println!("# {finding}"));
        let log = self.loaded.as_ref().map_or("", |(_, log)| log.as_str());
        println!("# the kernel: {} {log}", self.kernel());
    }
}

/// Loads them in one guest, those of a group together, and takes them away again; `busy` has those that shall do something
/// meanwhile. Gives what the guest printed, where it came to no good end.
pub fn load(
    dir: &Path,
    busy: &mut [Vec<Livepatch>],
    others: &mut [Livepatch],
) -> Result<Option<String>> {
    let mut list = String::new();
    let mut line = |word: &str, group: &[Livepatch]| {
        list += word;
        for one in group.iter().filter(|one| one.left_to().is_none()) {
            let words: Vec<_> = std::iter::once(one.file.display().to_string())
                .chain(one.targets.clone())
                .collect();
            let _ = write!(list, " {}", words.join(":"));
        }
        list += "\n";
    };
    busy.iter().for_each(|group| line("busy", group));
    others.chunks(1).for_each(|group| line("idle", group));
    for (name, text) in [("list", list.as_str()), ("try.py", TRY)] {
        fs::write(dir.join(name), text)?;
    }
    let guest = xtask()?
        .args([
            "shell",
            "--no-build",
            "--nics",
            "1",
            "--timeout",
            "3600",
            "--",
            "python3",
        ])
        .args([dir.join("try.py"), dir.join("list")])
        .stdin(Stdio::null())
        .output()
        .context("starting a guest")?;
    let said = String::from_utf8_lossy(&guest.stdout);
    let mut loaded = BTreeMap::new();
    let mut removed = BTreeMap::new();
    for line in said.lines() {
        match line.trim_end().splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["loaded", file, word] => drop(loaded.insert(file, (word, ""))),
            ["loaded", file, word, log] => drop(loaded.insert(file, (word, log))),
            ["removed", file, word] => drop(removed.insert(file, word)),
            _ => {}
        }
    }
    for one in busy.iter_mut().flatten().chain(others) {
        let file = one.file.to_string_lossy();
        one.loaded = loaded
            .get(&*file)
            .map(|(word, log)| ((*word).to_owned(), (*log).to_owned()));
        one.removed = removed.get(&*file) == Some(&"ok");
    }
    let trouble = || said.clone().into_owned() + &String::from_utf8_lossy(&guest.stderr);
    Ok((!guest.status.success()).then(trouble))
}

/// A line each, and how many there are of each pair of words.
pub fn tables<'a>(all: impl Iterator<Item = &'a Livepatch>) -> (String, String) {
    let mut each = String::from("| livepatch | of | preflight | the kernel |\n|---|---|---|---|\n");
    let mut count: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for one in all {
        let (said, kernel) = (one.said(), one.kernel());
        let _ = writeln!(each, "| {} | {} | {said} | {kernel} |", one.name(), one.of);
        *count.entry((said, kernel)).or_default() += 1;
    }
    let mut sums = String::from("| `preflight` | the kernel | livepatches |\n|---|---|---|\n");
    for ((said, kernel), count) in count {
        let _ = writeln!(sums, "| {said} | {kernel} | {count} |");
    }
    (each, sums)
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The book's reference of the samples, read from the built modules and from what the tests saw of them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use regex::Regex;

use crate::catalog;
use crate::catalog::Sample;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::paths;
use crate::process;
use crate::timeline;

/// Every sample with its modules, their parameters and the files that they have in sysfs.
pub fn samples(kernel: &Kernel) -> Result<String> {
    let mut page = String::new();
    for sample in catalog::samples()? {
        let _ = writeln!(
            page,
            "## {}\n\n{}. [The chapter](../samples/{}.md).\n",
            sample.stem, sample.description, sample.stem
        );
        for module in livepatches(&kbuild::output_dir(kernel).join(&sample.stem))? {
            page.push_str(&section(&sample, &module)?);
        }
    }
    Ok(page)
}

/// The livepatch modules below `folder`, in the order of their names.
fn livepatches(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths::files_in(folder, "ko")? {
        if modinfo(&path, "livepatch")?.trim() == "Y" {
            found.push(path);
        }
    }
    Ok(found)
}

fn modinfo(module: &Path, field: &str) -> Result<String> {
    process::capture(Command::new("modinfo").args(["-F", field]).arg(module))
}

fn section(sample: &Sample, file: &Path) -> Result<String> {
    let module = file.file_stem().unwrap_or_default().to_string_lossy();
    let source = paths::read_lossy(&sample.dir.join(format!("{module}.rs")));
    let transcript = paths::root().join(format!("selftests/expected/{}.log", sample.stem));
    let mut objects = objects(&paths::read_lossy(&transcript), &module);
    // One without callbacks is in no line of the log.
    let symbols = process::capture(Command::new("nm").arg("--defined-only").arg(file))?;
    objects.extend(replaced(&symbols));

    let about = modinfo(file, "description")?;
    let mut text = format!("`{module}.ko`: {}\n\n", about.trim());
    text.push_str("| file | holds |\n|---|---|\n");
    // A line each, `name:text (type)`.
    let params = modinfo(file, "parm")?;
    for (name, rest) in params.lines().filter_map(|line| line.split_once(':')) {
        let said = rest.rsplit_once(" (").map_or(rest, |(said, _)| said);
        let declared = declared(&source, name).unwrap_or_default();
        let file = format!("/sys/module/{module}/parameters/{name}");
        let _ = writeln!(text, "| `{file}` | {said}{declared} |");
    }
    let sysfs = format!("/sys/kernel/livepatch/{module}");
    let files = "`enabled`, `transition`, `force`, `replace`, `stack_order`";
    let _ = writeln!(text, "| `{sysfs}/` | {files} |");
    for object in objects {
        let holds = format!("1 while `{object}` is patched");
        let _ = writeln!(text, "| `{sysfs}/{object}/patched` | {holds} |");
    }
    text.push('\n');
    Ok(text)
}

/// Default and permissions of a parameter, from its declaration: what `modinfo` does not tell.
fn declared(source: &str, name: &str) -> Option<String> {
    let pattern = format!(
        r#"\("{}"\):(?s:(.*?)) = (?:\w+::)*([^,={{]+),\s*0o(\d+),"#,
        regex::escape(name)
    );
    let found = Regex::new(&pattern).ok()?.captures(source)?;
    let (kind, default, mode) = (found.get(1)?, found.get(2)?.as_str(), found.get(3)?);
    // A word of an `enum` is declared beside it; another constant's name tells a user nothing.
    let word = kind
        .as_str()
        .split_once(&format!("{default} = \""))
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(word, _)| word);
    let shown = word.or_else(|| default.parse::<i64>().is_ok().then_some(default));
    let default = shown.map_or(String::new(), |shown| format!("; default `{shown}`"));
    Some(format!("{default}; mode {}", mode.as_str()))
}

/// The objects whose callbacks the transcript shows.
fn objects(transcript: &str, module: &str) -> BTreeSet<String> {
    let story = timeline::parse_transcript(transcript);
    let callbacks = story.callbacks().into_iter();
    let own = callbacks.filter(|callback| callback.module == module);
    own.map(|callback| callback.object.clone()).collect()
}

/// The objects that a module replaces functions of: a replacement's symbol is `livepatch.OBJECT.FUNCTION`.
fn replaced(symbols: &str) -> BTreeSet<String> {
    symbols
        .lines()
        .filter_map(|line| line.split_whitespace().last()?.strip_prefix("livepatch."))
        .filter_map(|name| Some(name.split_once('.')?.0.to_owned()))
        .collect()
}

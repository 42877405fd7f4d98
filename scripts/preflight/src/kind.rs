// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `new NAME --kind KIND`: the sample that is nearest, under another name.

use std::path::Path;

use anyhow::bail;
use anyhow::Result;
use fs_err as fs;
use regex::Regex;

use crate::new::Sample;

/// What a patch does that is more than a function, and the sample that does it.
pub const KINDS: [(&str, &str); 5] = [
    ("data", "sysctl-update"),
    ("shadow", "shadow-data"),
    ("redirect", "asm-trampoline"),
    ("syscall", "syscall-compat"),
    ("handover", "state-handover"),
];

/// The sample of that kind as `stem`.
pub fn sample(house: &Path, stem: &str, kind: &str) -> Result<Sample> {
    let Some((_, old)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        bail!("there is no kind `{kind}`");
    };
    let folder = house.join("samples").join(old);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // A build in the folder leaves others.
        if is_source(&name) {
            let text = fs::read_to_string(folder.join(&name))?;
            files.push((name, text));
        }
    }
    let kbuild = files.iter().find(|(name, _)| name == "Kbuild");
    let modules =
        kbuild.and_then(|(_, text)| text.lines().find_map(|line| line.strip_prefix("klp-m := ")));
    let (old_module, module) = (old.replace('-', "_"), stem.replace('-', "_"));
    let modules: Vec<&str> = modules.unwrap_or_default().split(' ').collect();
    // Of two versions the first has the plain name.
    let first = format!("{old_module}_v1");
    let has_versions = modules.contains(&first.as_str());
    let last = if has_versions {
        format!("{module}_2")
    } else {
        module.clone()
    };
    let mut names = vec![
        (word(old)?, stem.to_owned()),
        (
            word(&format!("module = \"{old_module}\""))?,
            format!("module = \"{module}\""),
        ),
        (word(&old_module)?, last.clone()),
        (word(&first)?, module.clone()),
    ];
    for other in modules {
        let rest = other.strip_prefix(&old_module).unwrap_or(other);
        if other != old_module && other != first {
            let new = format!("{module}_{}", rest.trim_start_matches('_'));
            names.push((word(other)?, new));
        }
    }
    let with_first = |command| match has_versions {
        true => format!("\t{command} {module}\n"),
        false => String::new(),
    };
    let made = [module.as_str(), last.as_str()];
    let made = if has_versions { &made[..] } else { &made[..1] };
    let renamed = |text: &str| {
        names.iter().fold(text.to_owned(), |text, (old, new)| {
            old.replace_all(&text, new.as_str()).into_owned()
        })
    };
    Ok(Sample {
        files: files
            .iter()
            .map(|(name, text)| (renamed(name), renamed(text)))
            .collect(),
        words: vec![
            ("@title@", stem.to_owned()),
            ("@load@", with_first("load_lp")),
            ("@patched@", with_first("unload_mod")),
            ("@stem@", stem.to_owned()),
            ("@modules@", made.join(" ")),
            ("@last@", last),
            ("@module@", module),
        ],
    })
}

fn is_source(name: &str) -> bool {
    let source = ["rs", "h", "c", "S", "toml"];
    matches!(name, "Kbuild" | "Makefile")
        || (name
            .rsplit_once('.')
            .is_some_and(|(_, kind)| source.contains(&kind))
            && !name.ends_with("_generated.rs")
            && !name.ends_with(".mod.c")
            && name != "klp_bindings.rs")
}

/// Where this text stands, but not in the midst of longer names.
fn word(text: &str) -> Result<Regex> {
    let pattern = format!(r"\b{{start-half}}{}\b{{end-half}}", regex::escape(text));
    Ok(Regex::new(&pattern)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_replaced() {
        let text = "old old_v1 an_old old-y: old.o";
        let renamed = word("old").unwrap().replace_all(text, "new");
        assert_eq!(renamed, "new old_v1 an_old new-y: new.o");
    }
}

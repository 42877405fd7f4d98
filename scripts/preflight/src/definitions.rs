// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where the kernel's tree defines a function. A walk of the tree takes a second whatever is looked for, so whoever has several
//! names asks for them together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::inlined::base;

/// Where the code of vmlinux, and of all else, is.
const BUILT_IN: [&str; 14] = [
    "arch/x86", "block", "crypto", "drivers", "fs", "init", "io_uring", "ipc", "kernel", "lib",
    "mm", "net", "security", "sound",
];

/// How many places of one name are worth telling.
const MOST: usize = 4;

pub struct Definitions {
    tree: PathBuf,
    /// The places, such as `net/ipv4/tcp.c:7`, of each word that was looked for.
    known: RefCell<BTreeMap<String, Vec<String>>>,
}

impl Definitions {
    pub fn new(tree: PathBuf) -> Definitions {
        Definitions {
            tree,
            known: RefCell::default(),
        }
    }

    /// The places of what looks like the definition.
    pub fn of(&self, function: &str) -> Result<Vec<String>> {
        self.find(&[function])?;
        let places = self.known.borrow().get(word(function)).cloned();
        Ok(places.unwrap_or_default())
    }

    /// Looks for all of them in one walk.
    pub fn find(&self, functions: &[&str]) -> Result<()> {
        let mut known = self.known.borrow_mut();
        let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let mut words: Vec<&str> = functions.iter().map(|name| word(name)).collect();
        words.retain(|word| is_word(word) && !known.contains_key(*word));
        if words.is_empty() {
            return Ok(());
        }
        let any = words.join("|");
        let found = Command::new("grep")
            .args(["-rnE", "--include=*.c", "--include=*.S", "--include=*.h"])
            .arg(format!(r"^([a-zA-Z_].*[ *])?({any})\(|^SYM_(FUNC|CODE)_START(_LOCAL)?\(({any})\)|^(COMPAT_)?SYSCALL_DEFINE.*\(({any})"))
            .args(BUILT_IN)
            .env("LC_ALL", "C")
            .current_dir(&self.tree)
            .output()
            .context("starting grep")?;
        let text = String::from_utf8_lossy(&found.stdout);
        let lines = text.lines().filter(|line| !line.ends_with(';'));
        let lines: Vec<_> = lines.filter_map(place).collect();
        for word in words {
            let places = lines.iter().filter(|(_, text)| defines(text, word));
            let places = places.map(|(place, _)| place.clone()).take(MOST);
            known.insert(word.to_owned(), places.collect());
        }
        Ok(())
    }
}

/// What of a symbol's name stands in the source.
fn word(function: &str) -> &str {
    let word = base(function);
    let entry = word
        .strip_prefix("__")
        .and_then(|word| word.split_once("_sys_"));
    entry.map_or(word, |(_, call)| call)
}

/// `FILE:LINE`, and the text behind it.
fn place(line: &str) -> Option<(String, &str)> {
    let mut parts = line.splitn(3, ':');
    let place = format!("{}:{}", parts.next()?, parts.next()?);
    Some((place, parts.next()?))
}

/// Is it this one of several words that the line was found for?
fn defines(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let is_called = before.is_empty() || before.ends_with([' ', '*']);
        // SYM_FUNC_START(word), SYSCALL_DEFINE2(word, …
        let is_argument = before.ends_with('(') && after.starts_with([',', ')']);
        is_called && after.starts_with('(') || is_argument
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn one_walk_tells_of_many() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("fs")).unwrap();
        let text = "int f(void);\nint f(void)\nstatic int *ff(int f)\nSYSCALL_DEFINE1(g, int, f)\nSYM_FUNC_START(h)\n";
        fs::write(dir.path().join("fs/a.c"), text).unwrap();
        let all = Definitions::new(dir.path().to_owned());
        all.find(&["f", "ff.isra.0", "__x64_sys_g", "h", "no (word"])
            .unwrap();
        // What is known is not looked for.
        fs::remove_file(dir.path().join("fs/a.c")).unwrap();
        let of = |name| all.of(name).unwrap().join(" ");
        assert_eq!(of("f"), "fs/a.c:2");
        assert_eq!(of("ff"), "fs/a.c:3");
        assert_eq!(of("__ia32_sys_g"), "fs/a.c:4");
        assert_eq!(of("h"), "fs/a.c:5");
        assert_eq!(of("no (word"), "");
    }
}

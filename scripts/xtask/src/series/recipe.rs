// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What `scripts/series/` says: a file for each patch, its message first, then a line `---` and what it holds.
//!
//! ```text
//! take FROM TO                 the file FROM of this checkout is TO in the kernel's tree from this patch on
//! part FROM                    what the patterns find in FROM is not there before this patch, in `left-out.txt` never
//!     PATTERN…                    a line each: the item, the list item or the paragraph that begins where it matches
//! change FROM                  what has to differ from FROM, in the tree as in each patch
//!     OLD                         text of FROM, then what stands there instead; any number of such pairs
//!     NEW
//! add TO before|after PATTERN  lines for a file that the kernel has, at the first line that matches
//!     TEXT…
//! ```

use std::path::Path;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use regex::Regex;

/// One patch; or what no patch has.
#[derive(Default)]
pub struct Recipe {
    pub name: String,
    pub message: String,
    pub takes: Vec<(String, String)>,
    pub parts: Vec<(String, Regex)>,
    pub changes: Vec<(String, String, String)>,
    pub adds: Vec<Add>,
}

pub struct Add {
    pub file: String,
    pub before: bool,
    pub at: Regex,
    pub text: String,
}

/// All of them: the patches in their order, and what no patch has.
pub fn all(folder: &Path) -> Result<(Vec<Recipe>, Recipe)> {
    let mut recipes = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if name == "left-out" || name.starts_with(|c: char| c.is_ascii_digit()) {
            let text = fs::read_to_string(&path)?;
            recipes.push(Recipe::read(&name, &text).with_context(|| path.display().to_string())?);
        }
    }
    recipes.sort_by(|a, b| a.name.cmp(&b.name));
    let left_out = recipes.pop().context("no left-out.txt")?;
    Ok((recipes, left_out))
}

impl Recipe {
    fn read(name: &str, text: &str) -> Result<Recipe> {
        // The licence is the file's, not the message's.
        let (_, text) = text.split_once("\n\n").context("no licence")?;
        let (message, text) = text.split_once("\n---\n").context("no line `---`")?;
        let mut recipe = Recipe {
            name: name.to_owned(),
            message: message.to_owned() + "\n",
            ..Recipe::default()
        };
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let mut body = Vec::new();
            while let Some(text) = lines.next_if(|line| line.starts_with('\t') || line.is_empty()) {
                body.push(text.strip_prefix('\t').unwrap_or_default());
            }
            recipe
                .directive(line, &body)
                .with_context(|| line.to_owned())?;
        }
        Ok(recipe)
    }

    fn directive(&mut self, line: &str, body: &[&str]) -> Result<()> {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["take", from, to] => self.takes.push((from.to_owned(), to.to_owned())),
            ["part", from] => {
                for pattern in body {
                    self.parts.push((from.to_owned(), Regex::new(pattern)?));
                }
            }
            ["change", from] => {
                for pair in body.chunks(2) {
                    let [old, new] = pair else {
                        bail!("an odd number of lines");
                    };
                    let change = (from.to_owned(), (*old).to_owned(), (*new).to_owned());
                    self.changes.push(change);
                }
            }
            ["add", file, place @ ("before" | "after"), at] => self.adds.push(Add {
                file: file.to_owned(),
                before: place == "before",
                at: Regex::new(at)?,
                text: body.join("\n") + "\n",
            }),
            _ => bail!("no such line: take, part, change, add"),
        }
        Ok(())
    }
}

impl Add {
    /// The file's text with the lines in their place; `author` stands for `{author}`.
    pub fn apply(&self, text: &str, author: &str) -> Result<String> {
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let end = at + line.len();
            if self.at.is_match(line.trim_end()) {
                let at = if self.before { at } else { end };
                let added = self.text.replace("{author}", author);
                return Ok([&text[..at], &added, &text[at..]].concat());
            }
            at = end;
        }
        bail!("no line of {} matches {}", self.file, self.at)
    }
}

#[cfg(test)]
mod tests {
    use crate::series::Series;

    #[test]
    fn what_the_series_takes_cuts_and_changes_is_in_the_crate() {
        let difference = Series::read().and_then(|series| series.difference());
        assert!(difference.unwrap().contains(" lines differ, "));
    }
}

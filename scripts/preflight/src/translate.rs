// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `translate FILE`: which functions a kernel patch changes, and what a livepatch can do of it. It reads; it writes no fix.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use fs_err as fs;

use crate::ask;
use crate::facts::Facts;
use crate::recipe::Wish;
use crate::Usage;

/// What a patch changes in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    file: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Function(String),
    /// Outside of functions, behind or in this line.
    Outside(String),
}

/// Prints what becomes of each change; is it all in functions that can be replaced?
pub fn run(facts: &Facts, file: &str) -> Result<bool> {
    let text = fs::read(file).with_context(|| Usage(format!("reading {file}")))?;
    let changes = changes(&String::from_utf8_lossy(&text));
    if changes.is_empty() {
        bail!(Usage(format!("{file} changes no C or assembly: a unified diff is wanted, with the functions' names behind `@@` (git diff, diff -up)")));
    }
    let names = changes.iter().filter_map(|change| match &change.place {
        Place::Function(name) => Some(name.as_str()),
        Place::Outside(_) => None,
    });
    facts.definitions.find(&names.collect::<Vec<_>>())?;
    let mut all = true;
    let mut commands = Vec::new();
    for Change { file, place } in changes {
        println!("{file}:");
        match place {
            Place::Function(function) => {
                let wish = Wish::new(&function, "", false)?;
                let answer = ask::run(facts, &wish, None)?;
                all &= answer.can;
                if answer.can {
                    commands.push(format!("cargo xtask new NAME {function} {}", answer.object));
                }
            }
            Place::Outside(line) => {
                all = false;
                println!("outside of functions, at `{line}`");
                println!("  no         {}", advice(&file, &line));
            }
        }
        println!();
    }
    commands.iter().for_each(|command| println!("{command}"));
    Ok(all)
}

/// What to do about a change that no function is.
fn advice(file: &str, line: &str) -> &'static str {
    let is = |words: &[&str]| {
        line.split([' ', '\t', '*', '('])
            .any(|word| words.contains(&word))
    };
    if is(&["#include", "extern"]) || (line.ends_with(';') && !line.contains('=')) {
        "a declaration: a livepatch declares what it uses itself"
    } else if line.starts_with('#') || (file.ends_with(".h") && is(&["inline"])) {
        "every function that it was compiled into keeps the old text: replace those"
    } else if !line.contains('=') && is(&["struct", "union", "enum"]) {
        "objects exist, in the old layout: a new field is a shadow variable (`new NAME --kind shadow`)"
    } else {
        "memory has the old value: a callback changes it (`new NAME --kind data`)"
    }
}

/// The places that a unified diff changes, each once, in its order.
fn changes(diff: &str) -> Vec<Change> {
    let mut found: Vec<Change> = Vec::new();
    let mut file = "";
    // In a hunk: how many old and new lines are still to come.
    let mut left = (0_usize, 0_usize);
    let mut place = Place::Outside(String::new());
    for line in diff.lines() {
        if left == (0, 0) {
            if let Some(name) = line.strip_prefix("+++ ") {
                let name = name.split('\t').next().unwrap_or(name);
                file = name.split_once('/').map_or(name, |(_, rest)| rest);
            } else if let Some((lengths, heading)) = hunk(line) {
                left = lengths;
                place = Place::of(heading);
            }
            continue;
        }
        let (kind, text) = line.split_at_checked(1).unwrap_or((" ", ""));
        match kind {
            "-" => left.0 = left.0.saturating_sub(1),
            "+" => left.1 = left.1.saturating_sub(1),
            "\\" => continue,
            _ => left = (left.0.saturating_sub(1), left.1.saturating_sub(1)),
        }
        if text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '#'))
            && !text.ends_with(':')
        {
            place = Place::of(text);
        }
        let is_code = [".c", ".h", ".S"].iter().any(|kind| file.ends_with(kind));
        let changed = kind != " " && is_code && !text.trim().is_empty();
        let change = Change {
            file: file.to_owned(),
            place: place.clone(),
        };
        if changed && !found.contains(&change) {
            found.push(change);
        }
        if text.starts_with('}') {
            place = Place::Outside(text.to_owned());
        }
    }
    found
}

/// Numbers of lines and heading of `@@ -1,2 +3,4 @@ heading`.
fn hunk(line: &str) -> Option<((usize, usize), &str)> {
    let (ranges, heading) = line.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let length = |range: &str| {
        range
            .split_once(',')
            .map_or(Some(1), |(_, n)| n.parse().ok())
    };
    Some(((length(old)?, length(new)?), heading.trim()))
}

impl Place {
    /// What begins with this line in the first column.
    fn of(line: &str) -> Place {
        let Some((before, rest)) = line.split_once('(').filter(|_| !line.ends_with(';')) else {
            return Place::Outside(line.to_owned());
        };
        let first = rest.split([',', ')']).next().unwrap_or_default();
        let name = match before {
            _ if before.starts_with("SYM_") => first.to_owned(),
            _ if before.starts_with("SYSCALL_DEFINE") => format!("__x64_sys_{first}"),
            _ if before.contains(['=', '#']) => String::new(),
            _ => before
                .rsplit([' ', '\t', '*'])
                .next()
                .unwrap_or_default()
                .to_owned(),
        };
        match name.is_empty() {
            true => Place::Outside(line.to_owned()),
            false => Place::Function(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "\
From: somebody
--- a/fs/x.c\t2026
+++ b/fs/x.c\t2026
@@ -1,6 +1,7 @@ static int before(struct a *a,
 \tint i;
 
-\ti = 0;
+\ti = 1;
+\tgoto out;
 out:
 }
 
@@ -20,9 +21,9 @@
-static int limit = 4;
+static int limit = 5;
 
 int __must_check *named(int a)
 {
-\treturn a;
+\treturn 0;
 }
 
 SYSCALL_DEFINE2(thing, int, a, int, b)
@@ -40 +41 @@ SYSCALL_DEFINE2(thing, int, a, int, b)
-\treturn 1;
+\treturn 2;
--- a/Makefile
+++ b/Makefile
@@ -1 +1 @@
-a
+b
";

    #[test]
    fn the_places_of_a_patch() {
        let of = |place| Change {
            file: "fs/x.c".to_owned(),
            place,
        };
        let function = |name: &str| of(Place::Function(name.to_owned()));
        let outside = |line: &str| of(Place::Outside(line.to_owned()));
        assert_eq!(
            changes(PATCH),
            [
                function("before"),
                outside("static int limit = 4;"),
                outside("static int limit = 5;"),
                function("named"),
                function("__x64_sys_thing"),
            ]
        );
    }

    #[test]
    fn what_is_no_function_has_its_own_way() {
        let of = |line| advice("include/x.h", line);
        assert!(of("static int limit = 4;").contains("callback"));
        assert!(of("struct sock {").contains("shadow"));
        assert!(of("#define LIMIT 4").contains("compiled into"));
        assert!(of("int f(void);").contains("declares"));
    }
}

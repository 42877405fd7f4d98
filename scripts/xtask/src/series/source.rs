// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A file of the crate, or of its samples, as the kernel's tree has it.

use std::ops::Range;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use regex::Captures;
use regex::Regex;

use crate::oops::pattern;

/// What the kernel's style asks for.
const WIDTH: usize = 100;

/// Takes out each item, list item or paragraph that begins at a line which matches; answers how many lines went.
pub fn cut(text: &mut String, what: &Regex) -> usize {
    let mut lines: Vec<&str> = text.lines().collect();
    let count = lines.len();
    let mut from = 0;
    while let Some(at) = (from..lines.len()).find(|&at| what.is_match(lines[at])) {
        let gone = extent(&lines, at);
        from = gone.start;
        lines.drain(gone);
        // One empty line, or empty line of a comment, is enough, and none at the end of what is around.
        let empty = |at: usize| lines.get(at).copied().map(str::trim).unwrap_or_default();
        let before = from.checked_sub(1).map(empty).unwrap_or_default();
        let twice = before.is_empty() && (empty(from).is_empty() || empty(from).starts_with('}'));
        let comment = ["///", "//!"].contains(&before)
            && !(empty(from).len() > 3 && empty(from).starts_with(before));
        if from > 0 && (twice || comment) {
            lines.remove(from - 1);
            from -= 1;
        }
    }
    let gone = count - lines.len();
    if gone > 0 {
        *text = lines.join("\n") + "\n";
    }
    gone
}

/// The lines of what begins at `at`.
fn extent(lines: &[&str], at: usize) -> Range<usize> {
    let line = lines[at].trim_start();
    if let Some(mark) = ["///", "//!"]
        .into_iter()
        .find(|mark| line.starts_with(mark))
    {
        let body = |line: &str| line.trim_start().strip_prefix(mark).map(str::to_owned);
        let first = body(line).unwrap_or_default();
        let goes_on = |line: &str| {
            body(line).is_some_and(|line| match first.trim_start().as_bytes() {
                [b'#', ..] => !line.starts_with(" # "),
                [b'-', ..] => line.starts_with("   "),
                [b'|', ..] => false,
                _ => !line.is_empty(),
            })
        };
        let more = lines[at + 1..].iter().take_while(|line| goes_on(line));
        return at..at + 1 + more.count();
    }
    let mut begin = at;
    while begin > 0 {
        let above = lines[begin - 1].trim();
        if above.ends_with(")]") && !above.starts_with("#[") {
            while begin > 0 && !lines[begin].trim().starts_with("#[") {
                begin -= 1;
            }
        } else if above.starts_with("//") || above.starts_with("#[") {
            begin -= 1;
        } else {
            break;
        }
    }
    let mut depth = 0;
    let mut end = at;
    loop {
        let line = lines[end].trim();
        depth += line.matches(['(', '[', '{']).count();
        depth = depth.saturating_sub(line.matches([')', ']', '}']).count());
        end += 1;
        let goes_on = depth > 0 || line.ends_with('=') || line.ends_with(")]");
        if end == lines.len() || !goes_on {
            return begin..end;
        }
    }
}

/// Puts each `mod NAME;` of a sample, which is one file in the kernel's tree, in its place.
pub fn with_modules(text: &str, file: &Path) -> Result<String> {
    let line = pattern(r#"(?m)^(?:#\[path = "(?<path>.+)"\]\n)?mod (?<name>\w+);\n"#);
    let mut all = String::new();
    let mut at = 0;
    for found in line.captures_iter(text) {
        let whole = found.get(0).context("nothing was found")?;
        let path = found.name("path");
        let path = path.map_or_else(
            || format!("{}.rs", &found["name"]),
            |path| path.as_str().to_owned(),
        );
        let path = file.with_file_name(path);
        let module = with_modules(&fs::read_to_string(&path)?, &path)?;
        let (_licence, module) = module.split_once("\n\n").context("no licence")?;
        all += &text[at..whole.start()];
        let indented = module.lines().map(|line| match line {
            "" => "\n".to_owned(),
            line => format!("    {line}\n"),
        });
        all += &format!(
            "mod {} {{\n{}}}\n",
            &found["name"],
            indented.collect::<String>()
        );
        at = whole.end();
    }
    Ok(all + &text[at..])
}

/// The macros that a crate exports.
pub fn macros(text: &str) -> Vec<String> {
    let exported = pattern(r"#\[macro_export\]\n *macro_rules! (\w+)");
    exported
        .captures_iter(text)
        .map(|name| name[1].to_owned())
        .collect()
}

/// The paths of the kernel's tree; `own` for the crate itself. Its macros stand at the top of the kernel's crate.
pub fn translate(text: &str, macros: &[String], own: bool) -> String {
    let in_tree = |name: &str| match name {
        "livepatch" => name.to_owned(),
        _ if macros.iter().any(|known| known == name) => format!("livepatch_{name}"),
        _ => name.to_owned(),
    };
    // `klp::NAME`, `crate::NAME` and `$crate::NAME`, where NAME may be that of a macro.
    let path = pattern(r"(^|[^\w:$])(klp|\$?crate)::(?:(\w+)!)?");
    let is_macro = |name: &str| macros.iter().any(|known| known == name);
    let rename = |found: &Captures<'_>| {
        let to = found[2].replace("klp", "kernel");
        let name = found.get(3).map(|name| name.as_str());
        match name {
            Some(name) if is_macro(name) => format!("{}{to}::{}!", &found[1], in_tree(name)),
            Some(name) => format!("{}{to}::livepatch::{name}!", &found[1]),
            None => format!("{}{to}::livepatch::", &found[1]),
        }
    };
    if !own {
        let path = pattern(r"(^|[^\w:$])(klp)::(?:(\w+)!)?");
        return path.replace_all(text, rename).into_owned();
    }
    let kernel = pattern(r"(^|[^\w:$])kernel::");
    let defined = pattern(r"macro_rules! (\w+)");
    let text = imports(text);
    let mut all = String::new();
    for line in text.replace('…', "...").lines() {
        let is_comment = line.trim_start().starts_with("//");
        let mut line = path.replace_all(line, rename).into_owned();
        if !is_comment {
            line = line.replace("::kernel::", "$crate::");
            line = kernel.replace_all(&line, "${1}crate::").into_owned();
        }
        let name = |found: &Captures<'_>| format!("macro_rules! {}", in_tree(&found[1]));
        all += &defined.replace(&line, name);
        all.push('\n');
    }
    all
}

/// `use` of the crate's own becomes one of the module's, except for the bindings, which are the kernel crate's.
fn imports(text: &str) -> String {
    let group = pattern(r"(?m)^( *(?:pub )?)use crate::\{\n((?:[^;]|\n)*?) *\};\n");
    let mut bindings = text.contains("use crate::bindings;\n");
    let text = text
        .replace("use crate::bindings;\n\n", "")
        .replace("use crate::bindings;\n", "");
    let text = group.replace_all(&text, |found: &Captures<'_>| {
        let mut items: Vec<&str> = found[2].lines().collect();
        let count = items.len();
        items.retain(|item| item.trim() != "bindings,");
        bindings |= items.len() < count;
        let begin = &found[1];
        let bare = |item: &str| {
            item.trim_end_matches(" //")
                .trim_end_matches(',')
                .to_owned()
        };
        match &mut items[..] {
            [] => String::new(),
            [one] => format!("{begin}use super::{};\n", bare(one.trim())),
            [all @ .., last] => {
                let (all, last) = (all.join("\n"), bare(last));
                let end = begin.replace("pub ", "");
                format!("{begin}use super::{{\n{all}\n{last}, //\n{end}}};\n")
            }
        }
    });
    let text = text.replace("use crate::", "use super::");
    match bindings && !text.contains("use kernel::{\n    bindings,\n") {
        true if text.contains("use kernel::{\n") => {
            text.replacen("use kernel::{\n", "use kernel::{\n    bindings,\n", 1)
        }
        _ => text,
    }
}

/// Breaks the lines of comments anew where one is too long; code is for rustfmt.
pub fn wrap(text: &str) -> String {
    let comment = pattern(r"^( *)(//[/!]?) (- |  )?(.*)$");
    let mut all = String::new();
    let mut lines = text.lines().peekable();
    let mut in_code = false;
    while let Some(line) = lines.next() {
        let found = comment.captures(line);
        in_code ^= line.contains("// ```") || line.contains("//! ```");
        let Some(found) = found.filter(|_| !in_code) else {
            all += line;
            all.push('\n');
            continue;
        };
        let [indent, mark, item, first] =
            [1, 2, 3, 4].map(|nr| found.get(nr).map_or("", |part| part.as_str()));
        let hang = if item.is_empty() { "" } else { "  " };
        let rest = format!("{indent}{mark} {hang}");
        let mut paragraph = vec![first];
        let goes_on = |line: &&str| {
            line.strip_prefix(&rest).is_some_and(|text| {
                !text.is_empty() && !text.starts_with([' ', '#', '|', '`', '-', '['])
            })
        };
        if !first.starts_with(['|', '#', '[']) && !first.is_empty() {
            while let Some(line) = lines.next_if(goes_on) {
                paragraph.push(&line[rest.len()..]);
            }
        }
        let begin = format!("{indent}{mark} {item}");
        let long = paragraph
            .iter()
            .any(|line| rest.len() + line.chars().count() > WIDTH);
        let options = textwrap::Options::new(WIDTH)
            .initial_indent(&begin)
            .subsequent_indent(&rest)
            .break_words(false)
            .word_separator(textwrap::WordSeparator::AsciiSpace)
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        let wrapped: Vec<String> = match long {
            true => textwrap::wrap(&paragraph.join(" "), options)
                .into_iter()
                .map(Into::into)
                .collect(),
            false => {
                let starts = std::iter::once(&begin).chain(std::iter::repeat(&rest));
                starts
                    .zip(&paragraph)
                    .map(|(start, line)| format!("{start}{line}"))
                    .collect()
            }
        };
        all += &wrapped.join("\n");
        all.push('\n');
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_goes_with_its_comment_and_no_further() {
        let mut text = "/// Stays.\nfn a() {}\n\n/// Goes.\n#[inline]\nfn b() {\n    a();\n}\n\n\
                        /// - one\n///   more\n/// - two\nfn c() {}\n"
            .to_owned();
        assert_eq!(cut(&mut text, &pattern("^fn b")), 6);
        assert_eq!(cut(&mut text, &pattern("- one")), 2);
        let rest = "/// Stays.\nfn a() {}\n\n/// - two\nfn c() {}\n";
        assert_eq!(text, rest);
        assert_eq!(cut(&mut text, &pattern("^fn d")), 0);
        assert_eq!(text, rest);
    }

    #[test]
    fn paths_and_macros_are_those_of_the_tree() {
        let macros = macros("#[macro_export]\nmacro_rules! param {\n}\n");
        let own = "use crate::Object;\nkernel::x();\n$crate::param!(y);\n$crate::cstr(z);\n";
        assert_eq!(
            translate(own, &macros, true),
            "use super::Object;\ncrate::x();\n$crate::livepatch_param!(y);\n$crate::livepatch::cstr(z);\n"
        );
        let sample = "klp::param!(y);\nimpl klp::Callbacks for X {}\n";
        assert_eq!(
            translate(sample, &macros, false),
            "kernel::livepatch_param!(y);\nimpl kernel::livepatch::Callbacks for X {}\n"
        );
    }

    #[test]
    fn comments_are_wrapped_and_code_in_them_is_not() {
        let long = "word ".repeat(30);
        let wrapped = wrap(&format!("/// {long}\n/// ```\n/// {long}\n/// ```\n"));
        let mut lines: Vec<&str> = wrapped.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines.remove(3).len() > WIDTH);
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
    }
}

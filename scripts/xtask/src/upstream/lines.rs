// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How long the test modules are in C and in Rust, and how much of the Rust is `unsafe`.
//!
//! A line counts when it holds something that is neither blank nor comment. It is unsafe when it belongs
//! to an `unsafe` block, to an `unsafe impl`, or to a declaration that begins with `unsafe` and has no
//! body (a foreign function, or a function to patch that is declared to `livepatch!`). The body of an
//! `unsafe fn` is not unsafe as a whole: `unsafe_op_in_unsafe_fn` is denied, so it has blocks of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::anyhow;
use anyhow::Context;
use anyhow::Result;
use proc_macro2::Delimiter;
use proc_macro2::Span;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use regex::Captures;
use regex::Regex;

use crate::paths;

/// Lines of code of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    code: usize,
    unsafe_: usize,
}

/// Print each module, C against Rust.
pub fn print(c_modules: &Path) -> Result<()> {
    let ours = paths::root().join("selftests/modules");
    let mut names: Vec<String> = stems(c_modules, "c")?;
    names.sort();
    let head = ["module", "C", "Rust", "in unsafe"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut shared = BTreeSet::new();
    let (mut c_sum, mut rust_sum) = (0, Lines::default());
    for name in &names {
        let c = c_lines(&read(&c_modules.join(format!("{name}.c")))?)?;
        let rust = ours.join(format!("{name}.rs"));
        if rust.is_file() {
            let text = read(&rust)?;
            shared.extend(submodules(&text));
            let rust = rust_lines(&text)?;
            c_sum += c;
            rust_sum.code += rust.code;
            rust_sum.unsafe_ += rust.unsafe_;
            rows.push(row(name, c.to_string(), rust));
        } else {
            let why = match ours.join(format!("{name}.c")).is_file() {
                true => "in C as well",
                false => "not written yet",
            };
            rows.push(vec![
                name.clone(),
                c.to_string(),
                why.to_owned(),
                "-".to_owned(),
            ]);
        }
    }
    rows.push(row("all that are in both", c_sum.to_string(), rust_sum));
    for name in &shared {
        let lines = rust_lines(&read(&ours.join(format!("{name}.rs")))?)?;
        rows.push(row(
            &format!("{name}.rs, shared by some"),
            "-".to_owned(),
            lines,
        ));
    }
    let crate_sum = folder_lines(&paths::root().join("shared/klp/src"))?;
    rows.push(row("the crate klp, below them", "-".to_owned(), crate_sum));
    print!(
        "Lines of code, without blanks and comments:\n\n{}",
        super::columns(&rows)
    );
    Ok(())
}

fn row(name: &str, c: String, rust: Lines) -> Vec<String> {
    vec![
        name.to_owned(),
        c,
        rust.code.to_string(),
        rust.unsafe_.to_string(),
    ]
}

/// The files that a module is made of beside its own.
fn submodules(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// The Rust files of a folder, all together.
fn folder_lines(folder: &Path) -> Result<Lines> {
    let mut sum = Lines::default();
    for stem in stems(folder, "rs")? {
        let lines = rust_lines(&read(&folder.join(format!("{stem}.rs")))?)?;
        sum.code += lines.code;
        sum.unsafe_ += lines.unsafe_;
    }
    Ok(sum)
}

fn stems(folder: &Path, extension: &str) -> Result<Vec<String>> {
    let mut stems = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .path();
        // What Kbuild has made of a module in a copy of the kernel's folder is not its source.
        let made = path.to_string_lossy().ends_with(".mod.c");
        if path.extension().is_some_and(|found| found == extension) && !made {
            stems.extend(
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    Ok(stems)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Lines of C that are neither blank nor comment.
fn c_lines(text: &str) -> Result<usize> {
    // A string comes first, so that what looks like a comment in it is none.
    let pattern = Regex::new(r#"(?s)"(?:\\.|[^"\\])*"|/\*.*?\*/|//[^\n]*"#)?;
    let bare = pattern.replace_all(text, |found: &Captures<'_>| {
        let found = &found[0];
        if found.starts_with('"') {
            found.to_owned()
        } else {
            // The lines of a comment stay, empty.
            "\n".repeat(found.matches('\n').count())
        }
    });
    Ok(bare.lines().filter(|line| !line.trim().is_empty()).count())
}

fn rust_lines(text: &str) -> Result<Lines> {
    let tokens: TokenStream = text
        .parse()
        .map_err(|error| anyhow!("Rust that does not parse: {error}"))?;
    let source: Vec<&str> = text.lines().collect();
    let mut count = Count {
        source: &source,
        code: BTreeSet::new(),
        unsafe_: BTreeSet::new(),
    };
    count.walk(tokens, false);
    Ok(Lines {
        code: count.code.len(),
        unsafe_: count.unsafe_.len(),
    })
}

struct Count<'a> {
    source: &'a [&'a str],
    code: BTreeSet<usize>,
    unsafe_: BTreeSet<usize>,
}

impl Count<'_> {
    fn walk(&mut self, tokens: TokenStream, inside: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut until = 0;
        let mut comment = false;
        for (at, token) in tokens.iter().enumerate() {
            // A doc comment becomes an attribute: `#`, perhaps `!`, and a group.
            comment |= self.is_comment(token.span());
            if comment {
                comment = !matches!(token, TokenTree::Group(_));
                continue;
            }
            if is_word(token, "unsafe") {
                until = until.max(unsafe_end(&tokens, at));
            }
            let inside = inside || at < until;
            if let TokenTree::Group(group) = token {
                self.add(group.span_open(), inside);
                self.walk(group.stream(), inside);
                self.add(group.span_close(), inside);
            } else {
                self.add(token.span(), inside);
            }
        }
    }

    fn is_comment(&self, span: Span) -> bool {
        let start = span.start();
        let line = self.source.get(start.line - 1).unwrap_or(&"");
        let here: String = line.chars().skip(start.column).take(2).collect();
        here == "//" || here == "/*"
    }

    fn add(&mut self, span: Span, inside: bool) {
        let (start, end) = (span.start(), span.end());
        for line in start.line..=end.line {
            self.code.insert(line);
            if inside {
                self.unsafe_.insert(line);
            }
        }
    }
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if *ident == word)
}

/// Where what `unsafe` at `at` makes unsafe ends; `at` itself when it makes nothing so.
fn unsafe_end(tokens: &[TokenTree], at: usize) -> usize {
    let brace = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
    let Some(next) = tokens.get(at + 1) else {
        return at;
    };
    if brace(next) {
        return at + 2;
    }
    let is_impl = is_word(next, "impl");
    for (number, token) in tokens.iter().enumerate().skip(at + 1) {
        if brace(token) {
            // An implementation as a whole; a function's body speaks for itself.
            return if is_impl { number + 1 } else { at };
        }
        if matches!(token, TokenTree::Punct(punct) if matches!(punct.as_char(), ';' | ',')) {
            // A declaration, or a type that names an unsafe function.
            return if tokens[at + 1..number].iter().any(|t| is_word(t, "fn")) {
                number + 1
            } else {
                at
            };
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_module_are_found() {
        assert_eq!(submodules("mod a;\n\nmod b {\n}\n// mod c;\n"), ["a"]);
    }

    #[test]
    fn c_comments_and_blanks_do_not_count() {
        let text = "/* a\n * b\n */\n\n#include <x.h> // y\nchar *s = \"/* no\"; /* z */\n\n}\n";
        assert_eq!(c_lines(text).unwrap(), 3);
    }

    #[test]
    fn rust_comments_do_not_count_and_blocks_do() {
        let text = "//! doc\n\n/// doc\nfn f() {\n    // SAFETY: x\n    unsafe {\n        // more\n        g();\n    }\n}\n";
        let lines = rust_lines(text).unwrap();
        assert_eq!(
            lines,
            Lines {
                code: 5,
                unsafe_: 3
            }
        );
    }

    #[test]
    fn a_promise_counts_and_the_body_of_an_unsafe_function_does_not() {
        let text = "unsafe impl Send for X {}\nmac! { functions: [\n    unsafe fn old(*mut a) -> i32 = new,\n] }\n\
                    unsafe extern \"C\" fn new(a: *mut a) -> i32 {\n    let x = 1;\n    unsafe { *a }\n}\n";
        let lines = rust_lines(text).unwrap();
        assert_eq!(
            lines,
            Lines {
                code: 8,
                unsafe_: 3
            }
        );
    }
}

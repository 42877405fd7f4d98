// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The same modules in C and in Rust, measured in one boot.
//!
//! The guest's clock counts instructions, so the host may be as busy as it likes, and what a round measures comes out nearly
//! the same in the next. The rounds alternate all the same: what was done before (a hash that grew, memory in pieces) is the
//! same for both.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;

use crate::guest;
use crate::guest::Seen;
use crate::make;
use crate::output;
use crate::root;
use crate::scratch;
use crate::stats;
use crate::stats::spread;
use crate::stats::table;
use crate::touch;

/// What the book includes.
const PAGE: &str = "book/src/reference/clocks-table.md";

/// One module in both languages.
pub struct Twin {
    pub title: &'static str,
    pub c: &'static str,
    pub rust: &'static str,
    /// What its callbacks walk over, and how many; growth is fitted to all but the first.
    thing: &'static str,
    items: &'static [usize],
    /// The callbacks that walk.
    walks: &'static [&'static str],
    /// The one of them whose memory is counted. What goes in the end was held: while a list grows its memory is in two places.
    holds: &'static str,
}

impl Twin {
    fn names(&self) -> (&'static str, &'static str) {
        (self.c, self.rust)
    }

    /// The name of the cycle that has so many things.
    pub fn cycle(&self, items: usize) -> String {
        match self.items {
            [] => self.title.to_owned(),
            _ => format!("{}-{items}", self.title),
        }
    }
}

pub const DEMO: Twin = Twin {
    title: "callbacks-demo",
    c: "ctwin_callbacks_demo",
    rust: "test_klp_callbacks_demo",
    thing: "",
    items: &[],
    walks: &[],
    holds: "",
};
/// Ten thousand namespaces would take longer to make than all else to measure.
pub const SYSCTL: Twin = Twin {
    title: "sysctl-update",
    c: "ctwin_sysctl_update",
    rust: "sysctl_update",
    thing: "namespace",
    items: &[1, 100, 300, 1000],
    walks: &["pre_patch", "post_unpatch"],
    holds: "post_unpatch",
};
pub const SHADOW: Twin = Twin {
    title: "raw-opener",
    c: "ctwin_raw_opener",
    rust: "raw_opener",
    thing: "socket",
    items: &[1, 100, 1000, 10_000],
    walks: &["post_patch", "post_unpatch"],
    holds: "post_patch",
};
pub const TWINS: [&Twin; 3] = [&DEMO, &SYSCTL, &SHADOW];

/// How many functions a patch replaces.
pub const SIZES: [usize; 4] = [1, 10, 100, 1000];

/// How much is measured: rounds, the most items to walk over, and the most functions to replace.
#[derive(Clone, Copy)]
pub struct Amount {
    pub rounds: usize,
    pub items: usize,
    pub functions: usize,
}

impl Amount {
    pub fn items(self, twin: &Twin) -> impl Iterator<Item = usize> + '_ {
        twin.items.iter().copied().filter(move |n| *n <= self.items)
    }

    pub fn functions(self) -> impl Iterator<Item = usize> {
        SIZES.into_iter().filter(move |n| *n <= self.functions)
    }
}

pub fn run(rounds: usize, quick: bool, book: bool) -> Result<()> {
    let (items, functions) = if quick { (100, 10) } else { (10_000, 1000) };
    let amount = Amount {
        rounds,
        items,
        functions,
    };
    let stripped = guest::modules(amount)?;
    let said = guest::boot(&stripped, amount)?;
    let mut rows = sizes(&stripped)?;
    let rest = evaluate(&Seen::read(&said), amount, &mut rows)?;
    if !quick {
        group(&mut rows, "Building");
        let what = format!("{}: touched and built again", SYSCTL.title);
        row(&mut rows, what, "host ms", &rebuild(rounds)?);
    }
    let release = said.lines().find_map(|line| line.strip_prefix("@release "));
    let machine = machine(release.unwrap_or("?"))?;
    let heads = ["", "unit", ":C", ":Rust/C", "rounds"];
    let text = format!(
        "{machine}. Medians of {rounds} rounds.\n\n{}{rest}",
        table(&heads, &rows)
    );
    print!("{text}");
    if book {
        let text = format!("<!-- Written by `cargo xtask bench --book`. -->\n\n{text}");
        fs::write(root().join(PAGE), text).with_context(|| format!("writing {PAGE}"))?;
        println!("written: {PAGE}");
    }
    Ok(())
}

/// The same of a module in C and in Rust, a number for each round.
pub type Pair = [Vec<f64>; 2];

type Rows = Vec<Vec<String>>;

fn group(rows: &mut Rows, name: &str) {
    let mut row = vec![String::new(); 5];
    row[0] = format!("**{name}**");
    rows.push(row);
}

fn row(rows: &mut Rows, what: String, unit: &str, [c, rust]: &Pair) {
    let mut row = vec![what, unit.to_owned()];
    row.extend(stats::ratio(c, rust));
    rows.push(row);
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// How the cost of the same grows with more and more items. All points are fitted but the first, in which what does not grow
/// outweighs the rest.
fn growth(what: String, points: &[(usize, Pair)]) -> Vec<String> {
    let points = points.get(1..).unwrap_or_default();
    let power = |language: usize| {
        let point = |(size, pair): &(usize, Pair)| (*size as f64, spread(&pair[language])[1]);
        stats::growth(&points.iter().map(point).collect::<Vec<_>>())
    };
    let end = |point: Option<&(usize, Pair)>| {
        point.map_or("-".to_owned(), |(size, _)| stats::count(*size as f64))
    };
    let told = |power: Option<f64>| power.map_or("-".to_owned(), |power| format!("{power:.2}"));
    let (c, rust) = (power(0), power(1));
    let verdict = stats::verdict(c, rust).to_owned();
    let (from, to) = (end(points.first()), end(points.last()));
    vec![what, from, to, told(c), told(rust), verdict]
}

/// Add the rows of the great table out of what was seen; the answer is the text of those that come after it.
fn evaluate(seen: &Seen, amount: Amount, rows: &mut Rows) -> Result<String> {
    let (mut grows, mut waits, mut bare) = (Rows::new(), Rows::new(), Rows::new());
    let unit = "instructions";

    group(rows, "Load and disable");
    for twin in TWINS {
        let (cycle, title) = (twin.cycle(1), twin.title);
        for (what, text) in [
            ("load_cpu", "insmod's own part"),
            ("complete_work", "insmod to \"patching complete\""),
            ("disable_cpu", "disabling, the writer's own part"),
            ("gone_work", "disabling to its end"),
        ] {
            let pair = seen.pair(&cycle, twin.names(), what)?;
            row(rows, format!("{title}: {text}"), unit, &pair);
        }
        let range = |values: Vec<f64>| {
            let [least, _, most] = spread(&values).map(|value| value / 1e6);
            format!("{least:.1} to {most:.1}")
        };
        let [c, rust] = seen.pair(&cycle, twin.names(), "gone")?.map(range);
        waits.push(vec![format!("{title}: disabling to its end"), c, rust]);
    }

    group(rows, "Callbacks");
    let mut sums = [vec![0.0; amount.rounds], vec![0.0; amount.rounds]];
    for callback in ["pre_patch", "post_patch", "pre_unpatch", "post_unpatch"] {
        let pair = seen.pair(DEMO.title, DEMO.names(), &format!("{callback}_ticks"))?;
        for (sum, part) in sums.iter_mut().flatten().zip(pair.iter().flatten()) {
            *sum += part;
        }
    }
    row(
        rows,
        format!("{}: eight log lines", DEMO.title),
        unit,
        &sums,
    );
    for twin in [&SYSCTL, &SHADOW] {
        for callback in twin.walks {
            let mut points = Vec::new();
            for count in amount.items(twin) {
                let ticks = format!("{callback}_ticks");
                let pair = seen.pair(&twin.cycle(count), twin.names(), &ticks)?;
                let what = format!("{}: {callback}, {}", twin.title, counted(count, twin.thing));
                row(rows, what, unit, &pair);
                points.push((count, pair));
            }
            let what = format!("{}: {callback}, {}s", twin.title, twin.thing);
            grows.push(growth(what, &points));
        }
    }

    group(rows, "Memory");
    for twin in [&SYSCTL, &SHADOW] {
        let most = amount.items(twin).last().unwrap_or(1);
        let held = format!("{}_bytes", twin.holds);
        let pair = seen.pair(&twin.cycle(most), twin.names(), &held)?;
        let each = pair.map(|all| all.iter().map(|bytes| bytes.abs() / most as f64).collect());
        let what = format!("{}: held for each {}, of {most}", twin.title, twin.thing);
        row(rows, what, "bytes", &each);
    }

    group(rows, "Calls of what was replaced");
    let shadow = SHADOW.cycle(amount.items(&SHADOW).nth(1).unwrap_or(1));
    for (cycle, names, what, text) in [
        (
            "functions-1",
            ("bench_c_1", "bench_rust_1"),
            "call",
            "1000 calls of a small function",
        ),
        (
            &shadow,
            SHADOW.names(),
            "read_cpu",
            "raw-opener: reading /proc/net/raw",
        ),
        (
            &shadow,
            SHADOW.names(),
            "open_cpu",
            "raw-opener: 100 raw sockets opened and closed",
        ),
    ] {
        let pair = seen.pair(cycle, names, what)?;
        row(rows, text.to_owned(), unit, &pair);
        let none = seen.get(cycle, "-", what)?;
        for (language, values) in ["C", "Rust"].iter().zip(&pair) {
            let mut line = vec![format!("{text}: {language}")];
            line.extend(stats::ratio(&none, values).map(|cell| cell.replace('*', "")));
            bare.push(line);
        }
    }

    group(rows, "Patches with many functions");
    for (what, text) in [
        ("complete_work", "insmod to \"patching complete\""),
        ("gone_work", "disabling to its end"),
    ] {
        let mut points = Vec::new();
        for size in amount.functions() {
            let names = (&*format!("bench_c_{size}"), &*format!("bench_rust_{size}"));
            let pair = seen.pair(&format!("functions-{size}"), names, what)?;
            row(
                rows,
                format!("{}: {text}", counted(size, "function")),
                unit,
                &pair,
            );
            points.push((size, pair));
        }
        grows.push(growth(format!("functions: {text}"), &points));
    }

    Ok(format!(
        "\nThe same calls against those of the function that is not replaced:\n\n{}\n\
         With the waits, which depend on the moment of the start, in milliseconds of the guest, least to most:\n\n{}\n\
         Growth: the exponent that fits best (1 is linear).\n\n{}",
        table(&["", ":not replaced", ":ratio", "rounds"], &bare),
        table(&["", "C", "Rust"], &waits),
        table(&["", ":from", ":to", ":C", ":Rust", ""], &grows)
    ))
}

/// Code and file of each module, as `llvm-size` and the file system have it.
fn sizes(stripped: &Path) -> Result<Rows> {
    let mut rows = Rows::new();
    group(&mut rows, "Size");
    for twin in TWINS {
        let (mut codes, mut files) = (Pair::default(), Pair::default());
        for (nr, name) in [twin.c, twin.rust].iter().enumerate() {
            let file = stripped.join(format!("{name}.ko"));
            let sections = output(Command::new("llvm-size-19").arg("-A").arg(&file))?;
            codes[nr].push(code(&sections));
            files[nr].push(fs::metadata(&file)?.len() as f64);
        }
        for (what, pair) in [("code", codes), ("the .ko, without debug info", files)] {
            row(&mut rows, format!("{}: {what}", twin.title), "bytes", &pair);
        }
    }
    Ok(rows)
}

/// All sections of code in what `llvm-size -A` prints.
fn code(sections: &str) -> f64 {
    let size = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|name| name.ends_with(".text"))?;
        words.next()?.parse::<f64>().ok()
    };
    sections.lines().filter_map(size).sum()
}

/// How long the build of one module takes after its source was touched, both in turn.
fn rebuild(rounds: usize) -> Result<Pair> {
    let root = root().canonicalize()?;
    let mut took = Pair::default();
    // The first round builds all that the folder has, and does not count.
    for round in 0..=rounds {
        for (nr, folder, file) in [
            (0, "selftests/modules/c-twins", "ctwin_sysctl_update.c"),
            (1, "samples/sysctl-update", "sysctl_update.rs"),
        ] {
            let source = root.join(folder);
            touch(&source.join(file))?;
            let out = scratch(["rebuild-c", "rebuild-rust"][nr])?;
            let start = Instant::now();
            make(&source, &out)?;
            if round > 0 {
                took[nr].push(start.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }
    Ok(took)
}

/// What was measured where, for the page.
fn machine(release: &str) -> Result<String> {
    let mut text = format!("Linux {release}");
    for tool in ["clang-19", "rustc", "qemu-system-x86_64"] {
        let said = output(Command::new(tool).arg("--version"))?;
        let _ = write!(text, ", {}", said.lines().next().unwrap_or_default());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_missing_is_named() {
        let seen = Seen::read("@ callbacks-demo x load_cpu 587168\n@ a b\ninsmod: no\n");
        let number = seen.get("callbacks-demo", "x", "load_cpu").unwrap();
        assert_eq!(number, [587168.0]);
        let small = Amount {
            rounds: 1,
            items: 100,
            functions: 10,
        };
        let error = evaluate(&seen, small, &mut Rows::new()).unwrap_err();
        let missing = "ctwin_callbacks_demo load_cpu";
        assert!(error.to_string().contains(missing), "{error}");
    }

    #[test]
    fn code_is_the_text_of_all_kinds() {
        let said = "section  size  addr\n.text  5704  0\n.init.text  50  0\n.data  7  0\nTotal 9\n";
        assert_eq!(code(said), 5754.0);
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The same modules in C and in Rust, measured in one boot.
//!
//! The guest's clock counts instructions, so the host may be as busy as it likes, and what a round measures comes out nearly
//! the same in the next. The rounds alternate all the same: what was done before (a hash that grew, memory in pieces) is the
//! same for both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::make;
use crate::output;
use crate::root;
use crate::scratch;
use crate::stats;
use crate::stats::spread;
use crate::stats::table;
use crate::touch;
use crate::xtask;

/// What the book includes.
const PAGE: &str = "book/src/reference/clocks-table.md";

/// What the guest says at the end, when all went well.
const DONE: &str = "@ done";

/// One module in both languages.
struct Twin {
    title: &'static str,
    c: &'static str,
    rust: &'static str,
    /// What its callbacks walk over, and how many; growth is fitted to all but the first.
    thing: &'static str,
    items: &'static [usize],
    /// The callbacks that walk.
    walks: &'static [&'static str],
    /// The one of them whose memory is counted. What goes in the end was held: while a list grows its memory is in two places.
    holds: &'static str,
}

const DEMO: Twin = Twin {
    title: "callbacks-demo",
    c: "ctwin_callbacks_demo",
    rust: "test_klp_callbacks_demo",
    thing: "",
    items: &[],
    walks: &[],
    holds: "",
};
/// Ten thousand namespaces would take longer to make than all else to measure.
const SYSCTL: Twin = Twin {
    title: "sysctl-update",
    c: "ctwin_sysctl_update",
    rust: "sysctl_update",
    thing: "namespace",
    items: &[1, 100, 300, 1000],
    walks: &["pre_patch", "post_unpatch"],
    holds: "post_unpatch",
};
const SHADOW: Twin = Twin {
    title: "raw-opener",
    c: "ctwin_raw_opener",
    rust: "raw_opener",
    thing: "socket",
    items: &[1, 100, 1000, 10_000],
    walks: &["post_patch", "post_unpatch"],
    holds: "post_patch",
};
const TWINS: [&Twin; 3] = [&DEMO, &SYSCTL, &SHADOW];

/// How many functions a patch replaces. One with more than [`ONE_ROUND`] takes a minute to come and go, and is measured once.
const SIZES: [usize; 4] = [1, 10, 100, 1000];
const ONE_ROUND: usize = 100;

/// How much is measured: rounds, the most items to walk over, and the most functions to replace.
#[derive(Clone, Copy)]
struct Amount {
    rounds: usize,
    items: usize,
    functions: usize,
}

impl Amount {
    fn items(self, twin: &Twin) -> impl Iterator<Item = usize> + '_ {
        twin.items.iter().copied().filter(move |n| *n <= self.items)
    }

    fn functions(self) -> impl Iterator<Item = usize> {
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
    let stripped = modules(amount)?;
    let said = boot(&stripped, amount)?;
    let mut rows = sizes(&stripped)?;
    let rest = evaluate(&Seen::read(&said), amount, &mut rows)?;
    if !quick {
        rebuild(rounds, &mut rows)?;
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

/// Build all modules; the answer is the folder that has them as they would be installed, without what only a debugger reads.
fn modules(amount: Amount) -> Result<std::path::PathBuf> {
    let said = output(&mut xtask(&[
        "build",
        "c-twins",
        "selftests",
        "raw-opener",
        "sysctl-update",
    ])?)?;
    let built = said.lines().find_map(|line| line.strip_prefix("modules: "));
    let built = Path::new(built.context("`build` names no folder")?);
    eprintln!("building livepatches with many functions");
    let (source, many, stripped) = (scratch("source")?, scratch("many")?, scratch("stripped")?);
    let sizes: Vec<String> = SIZES.iter().map(usize::to_string).collect();
    let root = root().canonicalize()?;
    output(
        Command::new(root.join("scripts/bench/generate"))
            .arg(root.join("shared/klp"))
            .args(sizes)
            .current_dir(&source),
    )?;
    make(&source, &many)?;
    let strip = |from: &Path, name: &str| {
        let file = format!("{name}.ko");
        let mut command = Command::new("llvm-objcopy-19");
        command
            .arg("--strip-debug")
            .arg(from.join(&file))
            .arg(stripped.join(&file));
        output(&mut command).map(drop)
    };
    for name in TWINS
        .iter()
        .flat_map(|twin| [twin.c, twin.rust])
        .chain(["ctwin_meter", "test_klp_callbacks_mod"])
    {
        strip(built, name)?;
    }
    strip(&many, "bench_target")?;
    for size in amount.functions() {
        strip(&many, &format!("bench_c_{size}"))?;
        strip(&many, &format!("bench_rust_{size}"))?;
    }
    Ok(stripped)
}

/// The orders for the program that measures (`meter.c`): what leaves most behind comes last.
fn orders(amount: Amount) -> String {
    let rounds = amount.rounds;
    let mut text = format!(
        "dir /run/bench\nmodule test_klp_callbacks_mod\nmodule bench_target\nmodule ctwin_meter\nrounds {rounds}\n\
         cycle {} {} {}\ncost bench_target:bench_0000\n",
        DEMO.title, DEMO.c, DEMO.rust
    );
    for size in amount.functions() {
        if size > ONE_ROUND {
            text += "rounds 1\n";
        }
        let _ = writeln!(
            text,
            "cycle functions-{size} - bench_c_{size} bench_rust_{size}"
        );
    }
    let _ = write!(
        text,
        "rounds {rounds}\ncost -\nread /proc/net/raw\nopen 100\n"
    );
    for items in amount.items(&SHADOW) {
        let _ = writeln!(
            text,
            "sockets {items}\ncycle {}-{items} - {} {}",
            SHADOW.title, SHADOW.c, SHADOW.rust
        );
    }
    text += "read -\nopen 0\nwrite /proc/sys/net/ipv4/tcp_challenge_ack_limit 100\n";
    for items in amount.items(&SYSCTL) {
        let _ = writeln!(
            text,
            "namespaces {items}\ncycle {}-{items} {} {}",
            SYSCTL.title, SYSCTL.c, SYSCTL.rust
        );
    }
    text
}

/// Measure in a guest; the answer is what it said.
///
/// What is measured lies in memory, and the console is silent: a serial line takes a thousand instructions for each letter.
/// The program is linked statically: no part of it has to come from the host while it measures.
fn boot(stripped: &Path, amount: Amount) -> Result<String> {
    let folder = scratch("")?;
    let meter = root().join("scripts/bench/src/meter.c");
    let program = stripped.join("meter");
    output(
        Command::new("cc")
            .args(["-O2", "-Wall", "-static", "-o"])
            .arg(program)
            .arg(meter),
    )?;
    fs::write(stripped.join("orders"), orders(amount))?;
    let script = folder.join("guest.sh");
    let text = format!(
        "set -e\nmkdir /run/bench\nmount -t tmpfs none /run/bench\ncp '{}'/* /run/bench/\n\
         echo N > /sys/module/printk/parameters/ignore_loglevel\ndmesg -n 2\necho \"@release $(uname -r)\"\n\
         /run/bench/meter < /run/bench/orders\ngrep -v '^#' '{}' > /run/bench/complaints\nif dmesg | grep -E -f /run/bench/complaints; then exit 1; fi\necho '{DONE}'\n",
        stripped.display(),
        root().canonicalize()?.join("selftests/complaints").display()
    );
    fs::write(&script, text).with_context(|| format!("writing {}", script.display()))?;
    eprintln!("measuring in a guest that counts its instructions; this takes minutes");
    let line = format!("bash '{}'", script.display());
    let mut said = output(&mut xtask(&[
        "shell",
        "--memory",
        "4096",
        "--timeout",
        "3600",
        "--",
        &line,
    ])?)?;
    // While udev waits, too, the clock leaps, and now and then it gives up on the port that carries the output;
    // then the console has it.
    said += &String::from_utf8_lossy(&fs::read(root().join("target/vm/shell/console.log"))?);
    if !said.lines().any(|line| line == DONE) {
        bail!("the guest of the bench failed; its log: target/vm/shell/console.log");
    }
    Ok(said)
}

/// What was measured: by cycle, livepatch and quantity, one number for each round.
struct Seen(BTreeMap<String, Vec<f64>>);

impl Seen {
    /// Lines `@ CYCLE LIVEPATCH WHAT NUMBER`.
    fn read(said: &str) -> Seen {
        let mut seen: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (key, number) in said
            .lines()
            .filter_map(|line| line.strip_prefix("@ ")?.rsplit_once(' '))
        {
            if let Ok(number) = number.parse() {
                seen.entry(key.to_owned()).or_default().push(number);
            }
        }
        Seen(seen)
    }

    fn get(&self, cycle: &str, name: &str, what: &str) -> Result<Vec<f64>> {
        let key = format!("{cycle} {name} {what}");
        self.0
            .get(&key)
            .cloned()
            .with_context(|| format!("the guest did not measure {key}"))
    }

    /// Of a module in C and in Rust.
    fn pair(&self, cycle: &str, twin: (&str, &str), what: &str) -> Result<[Vec<f64>; 2]> {
        Ok([
            self.get(cycle, twin.0, what)?,
            self.get(cycle, twin.1, what)?,
        ])
    }
}

type Rows = Vec<Vec<String>>;

fn group(rows: &mut Rows, name: &str) {
    let mut row = vec![String::new(); 5];
    row[0] = format!("**{name}**");
    rows.push(row);
}

fn row(rows: &mut Rows, what: String, unit: &str, [c, rust]: &[Vec<f64>; 2]) {
    let mut row = vec![what, unit.to_owned()];
    row.extend(stats::ratio(c, rust));
    rows.push(row);
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// The cost of the same for more and more items.
struct Growth {
    rows: Rows,
    points: [Vec<(f64, f64)>; 2],
}

impl Growth {
    fn add(&mut self, size: usize, pair: &[Vec<f64>; 2]) {
        for (points, values) in self.points.iter_mut().zip(pair) {
            points.push((size as f64, spread(values)[1]));
        }
    }

    /// Fits all points but the first, in which what does not grow outweighs the rest.
    fn fit(&mut self, what: String) {
        let [c, rust] = std::mem::take(&mut self.points);
        let end = |point: Option<&(f64, f64)>| {
            point.map_or("-".to_owned(), |point| stats::count(point.0))
        };
        let power = |points: &[(f64, f64)]| points.get(1..).and_then(stats::growth);
        let told = |power: Option<f64>| power.map_or("-".to_owned(), |power| format!("{power:.2}"));
        let (in_c, in_rust) = (power(&c), power(&rust));
        let verdict = stats::verdict(in_c, in_rust).to_owned();
        self.rows.push(vec![
            what,
            end(c.get(1)),
            end(c.last()),
            told(in_c),
            told(in_rust),
            verdict,
        ]);
    }
}

/// Add the rows of the great table out of what was seen; the answer is the text of those that come after it.
fn evaluate(seen: &Seen, amount: Amount, rows: &mut Rows) -> Result<String> {
    let mut growth = Growth {
        rows: vec![],
        points: Default::default(),
    };
    let mut waits = Rows::new();

    group(rows, "Load and disable");
    for twin in TWINS {
        let cycle = match twin.items {
            [] => twin.title.to_owned(),
            _ => format!("{}-1", twin.title),
        };
        for (what, text) in [
            ("load_cpu", "insmod's own part"),
            ("complete_work", "insmod to \"patching complete\""),
            ("disable_cpu", "disabling, the writer's own part"),
            ("gone_work", "disabling to its end"),
        ] {
            let pair = seen.pair(&cycle, (twin.c, twin.rust), what)?;
            row(
                rows,
                format!("{}: {text}", twin.title),
                "instructions",
                &pair,
            );
        }
        let mut line = vec![format!("{}: disabling to its end", twin.title)];
        line.extend(
            seen.pair(&cycle, (twin.c, twin.rust), "gone")?
                .map(|values| {
                    let [least, _, most] = spread(&values).map(|value| value / 1e6);
                    format!("{least:.1} to {most:.1}")
                }),
        );
        waits.push(line);
    }

    group(rows, "Callbacks");
    let mut sums = [vec![0.0; amount.rounds], vec![0.0; amount.rounds]];
    for callback in ["pre_patch", "post_patch", "pre_unpatch", "post_unpatch"] {
        let pair = seen.pair(
            DEMO.title,
            (DEMO.c, DEMO.rust),
            &format!("{callback}_ticks"),
        )?;
        for (sum, part) in sums.iter_mut().flatten().zip(pair.iter().flatten()) {
            *sum += part;
        }
    }
    row(
        rows,
        format!("{}: eight log lines", DEMO.title),
        "instructions",
        &sums,
    );
    for twin in [&SYSCTL, &SHADOW] {
        for callback in twin.walks {
            for count in amount.items(twin) {
                let cycle = format!("{}-{count}", twin.title);
                let pair = seen.pair(&cycle, (twin.c, twin.rust), &format!("{callback}_ticks"))?;
                let what = format!("{}: {callback}, {}", twin.title, counted(count, twin.thing));
                row(rows, what, "instructions", &pair);
                growth.add(count, &pair);
            }
            growth.fit(format!("{}: {callback}, {}s", twin.title, twin.thing));
        }
    }

    group(rows, "Memory");
    for twin in [&SYSCTL, &SHADOW] {
        let most = amount.items(twin).last().unwrap_or(1);
        let cycle = format!("{}-{most}", twin.title);
        let pair = seen.pair(
            &cycle,
            (twin.c, twin.rust),
            &format!("{}_bytes", twin.holds),
        )?;
        let each = pair.map(|all| all.iter().map(|bytes| bytes.abs() / most as f64).collect());
        row(
            rows,
            format!("{}: held for each {}, of {most}", twin.title, twin.thing),
            "bytes",
            &each,
        );
    }

    group(rows, "Calls of what was replaced");
    let mut bare = Rows::new();
    let items = amount.items(&SHADOW).nth(1).unwrap_or(1);
    let shadow = (format!("{}-{items}", SHADOW.title), (SHADOW.c, SHADOW.rust));
    let functions = ("functions-1".to_owned(), ("bench_c_1", "bench_rust_1"));
    for ((cycle, twin), what, text) in [
        (&functions, "call", "1000 calls of a small function"),
        (&shadow, "read_cpu", "raw-opener: reading /proc/net/raw"),
        (
            &shadow,
            "open_cpu",
            "raw-opener: 100 raw sockets opened and closed",
        ),
    ] {
        let pair = seen.pair(cycle, *twin, what)?;
        row(rows, text.to_owned(), "instructions", &pair);
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
        for size in amount.functions() {
            let twin = (&*format!("bench_c_{size}"), &*format!("bench_rust_{size}"));
            let pair = seen.pair(&format!("functions-{size}"), twin, what)?;
            row(
                rows,
                format!("{}: {text}", counted(size, "function")),
                "instructions",
                &pair,
            );
            growth.add(size, &pair);
        }
        growth.fit(format!("functions: {text}"));
    }

    Ok(format!(
        "\nThe same calls against those of the function that is not replaced:\n\n{}\n\
         With the waits, which depend on the moment of the start, in milliseconds of the guest, least to most:\n\n{}\n\
         Growth: the exponent that fits best (1 is linear).\n\n{}",
        table(&["", ":not replaced", ":ratio", "rounds"], &bare),
        table(&["", "C", "Rust"], &waits),
        table(&["", ":from", ":to", ":C", ":Rust", ""], &growth.rows)
    ))
}

/// Code and file of each module, as `llvm-size` and the file system have it.
fn sizes(stripped: &Path) -> Result<Rows> {
    let of = |name: &str| -> Result<[f64; 2]> {
        let file = stripped.join(format!("{name}.ko"));
        let sections = output(Command::new("llvm-size-19").arg("-A").arg(&file))?;
        Ok([code(&sections), fs::metadata(&file)?.len() as f64])
    };
    let mut rows = Rows::new();
    group(&mut rows, "Size");
    for twin in TWINS {
        let (c, rust) = (of(twin.c)?, of(twin.rust)?);
        for (nr, what) in ["code", "the .ko, without debug info"].iter().enumerate() {
            row(
                &mut rows,
                format!("{}: {what}", twin.title),
                "bytes",
                &[vec![c[nr]], vec![rust[nr]]],
            );
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
fn rebuild(rounds: usize, rows: &mut Rows) -> Result<()> {
    let root = root().canonicalize()?;
    let mut took = [vec![], vec![]];
    // The first round builds all that the folder has, and does not count.
    for round in 0..=rounds {
        for (nr, file) in [
            "selftests/modules/c-twins/ctwin_sysctl_update.c",
            "samples/sysctl-update/sysctl_update.rs",
        ]
        .iter()
        .enumerate()
        {
            let file = root.join(file);
            touch(&file)?;
            let out = scratch(["rebuild-c", "rebuild-rust"][nr])?;
            let start = Instant::now();
            make(file.parent().context("no folder")?, &out)?;
            if round > 0 {
                took[nr].push(start.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }
    group(rows, "Building");
    row(
        rows,
        format!("{}: touched and built again", SYSCTL.title),
        "host ms",
        &took,
    );
    Ok(())
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

    const SMALL: Amount = Amount {
        rounds: 1,
        items: 100,
        functions: 10,
    };

    #[test]
    fn the_orders_keep_to_the_amount() {
        let text = orders(SMALL);
        assert!(
            text.contains("\nsockets 100\ncycle raw-opener-100 - ctwin_raw_opener raw_opener\n"),
            "{text}"
        );
        assert!(
            text.contains("\ncycle functions-10 - bench_c_10 bench_rust_10\n"),
            "{text}"
        );
        assert!(!text.contains("1000"), "{text}");
    }

    #[test]
    fn a_number_that_is_missing_is_named() {
        let seen = Seen::read("@ callbacks-demo x load_cpu 587168\n@ a b\ninsmod: no\n");
        assert_eq!(
            seen.get("callbacks-demo", "x", "load_cpu").unwrap(),
            [587168.0]
        );
        let error = evaluate(&seen, SMALL, &mut Rows::new()).unwrap_err();
        assert!(
            error.to_string().contains("ctwin_callbacks_demo load_cpu"),
            "{error}"
        );
    }

    #[test]
    fn code_is_the_text_of_all_kinds() {
        assert_eq!(
            code("section  size  addr\n.text  5704  0\n.init.text  50  0\n.data  7  0\nTotal 9\n"),
            5754.0
        );
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The same modules in C and in Rust, measured in one boot.
//!
//! The guest's clock counts instructions ([`vm::Clock::Virtual`]), so the host may be as busy as it likes, and what
//! a round measures comes out nearly the same in the next. The rounds alternate all the same: what was done before
//! (a hash that grew, memory in pieces) is the same for both.
//!
//! [`vm::Clock::Virtual`]: crate::vm::Clock::Virtual

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use super::generated;
use super::size;
use super::table::Growth;
use super::table::Row;
use super::table::Table;
use crate::error::Failure;
use crate::host;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::process;
use crate::process::quote;
use crate::report;
use crate::vm;
use crate::vm::End;
use crate::vm::Guest;

/// The program that measures in the guest; what it takes as orders stands there.
const METER: &str = include_str!("meter.c");

/// What the guest says at the end, when all went well.
const DONE: &str = "@ done";

/// Module folders that everything comes from.
pub const FOLDERS: [&str; 4] = ["c-twins", "selftests", "shadow-data", "sysctl-update"];

/// How many raw sockets are walked over; growth is fitted to all but the first.
const SOCKETS: [usize; 4] = [1, 100, 1000, 10_000];

/// The same for network namespaces, of which ten thousand would take longer to make than all else to measure.
const NAMESPACES: [usize; 4] = [1, 100, 300, 1000];

/// A patch with more functions than these takes a minute to come and go, and is measured once.
const ONE_ROUND: usize = 100;

/// One module in both languages.
pub struct Twin {
    pub title: &'static str,
    pub c: &'static str,
    pub rust: &'static str,
}

pub const DEMO: Twin = Twin {
    title: "callbacks-demo",
    c: "ctwin_callbacks_demo",
    rust: "test_klp_callbacks_demo",
};
pub const SYSCTL: Twin = Twin {
    title: "sysctl-update",
    c: "ctwin_sysctl_update",
    rust: "sysctl_update",
};
pub const SHADOW: Twin = Twin {
    title: "shadow-data",
    c: "ctwin_shadow_data",
    rust: "shadow_data",
};
pub const TWINS: [&Twin; 3] = [&DEMO, &SYSCTL, &SHADOW];

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Amount {
    pub rounds: usize,
    /// The most items to walk over, and the most functions to replace.
    pub items: usize,
    pub functions: usize,
}

impl Amount {
    fn items(self, of: &Twin) -> impl Iterator<Item = usize> {
        let all = if of.title == SYSCTL.title {
            NAMESPACES
        } else {
            SOCKETS
        };
        all.into_iter().filter(move |n| *n <= self.items)
    }

    fn functions(self) -> impl Iterator<Item = usize> {
        generated::SIZES
            .into_iter()
            .filter(move |n| *n <= self.functions)
    }
}

/// Build, boot, measure.
pub fn measure(kernel: &Kernel, amount: Amount) -> Result<Table> {
    let modules = kbuild::build(kernel, &FOLDERS.map(str::to_owned))?;
    eprintln!("building livepatches with many functions");
    let generated = generated::build(kernel)?;
    let bench = kbuild::output_dir(kernel).join("bench");
    let stripped = bench.join("stripped");
    strip_all(&[&modules, &generated], amount, &stripped)?;
    let meter = build_meter(&bench)?;
    let orders = bench.join("orders");
    fs::write(&orders, orders_for(amount))
        .with_context(|| format!("writing {}", orders.display()))?;

    let seen = boot(kernel, &modules, &[&stripped, &meter, &orders])?;
    let mut table = Table::default();
    size::rows(&stripped, &mut table)?;
    evaluate(&seen, amount, &mut table)?;
    Ok(table)
}

/// The modules as they would be installed: without what only a debugger reads.
fn strip_all(from: &[&PathBuf], amount: Amount, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    let mut names: Vec<String> = TWINS
        .iter()
        .flat_map(|twin| [twin.c, twin.rust])
        .chain(["ctwin_meter", "test_klp_callbacks_mod", generated::TARGET])
        .map(str::to_owned)
        .collect();
    for size in amount.functions() {
        names.extend(["c", "rust"].map(|language| generated::patch(language, size)));
    }
    for name in names {
        let file = format!("{name}.ko");
        let module = from
            .iter()
            .map(|dir| dir.join(&file))
            .find(|path| path.is_file())
            .with_context(|| format!("{file} was not built"))?;
        let mut command = Command::new(format!("llvm-objcopy{}", host::LLVM));
        command.arg("--strip-debug").arg(module).arg(to.join(&file));
        process::capture(&mut command)?;
    }
    Ok(())
}

/// Linked statically: in the guest no part of it has to come from the host while it measures.
fn build_meter(folder: &Path) -> Result<PathBuf> {
    let (source, program) = (folder.join("meter.c"), folder.join("meter"));
    fs::write(&source, METER).with_context(|| format!("writing {}", source.display()))?;
    let mut command = Command::new("cc");
    command
        .args(["-O2", "-Wall", "-static", "-o"])
        .arg(&program)
        .arg(&source);
    process::capture(&mut command).context("compiling the program that measures")?;
    Ok(program)
}

fn walk(twin: &Twin, items: usize) -> String {
    format!("{}-{items}", twin.title)
}

fn functions(size: usize) -> String {
    format!("functions-{size}")
}

/// The orders for the program: what leaves most behind comes last.
fn orders_for(amount: Amount) -> String {
    let mut text = format!(
        "dir /run/bench\nmodule test_klp_callbacks_mod\nmodule {}\nmodule ctwin_meter\nrounds {}\n",
        generated::TARGET,
        amount.rounds
    );
    let mut line = |text_line: String| {
        let _ = writeln!(text, "{text_line}");
    };
    let both = |twin: &Twin| format!("{} {}", twin.c, twin.rust);
    line(format!("cycle {} {}", DEMO.title, both(&DEMO)));
    line(format!("cost {}", generated::FIRST));
    for size in amount.functions() {
        if size > ONE_ROUND {
            line("rounds 1".to_owned());
        }
        line(format!(
            "cycle {} - {} {}",
            functions(size),
            generated::patch("c", size),
            generated::patch("rust", size)
        ));
    }
    line(format!(
        "rounds {}\ncost -\nread /proc/net/raw\nopen 100",
        amount.rounds
    ));
    for items in amount.items(&SHADOW) {
        line(format!("sockets {items}"));
        line(format!(
            "cycle {} - {}",
            walk(&SHADOW, items),
            both(&SHADOW)
        ));
    }
    line("read -\nopen 0".to_owned());
    line("write /proc/sys/net/ipv4/tcp_challenge_ack_limit 100".to_owned());
    for items in amount.items(&SYSCTL) {
        line(format!("namespaces {items}"));
        line(format!("cycle {} {}", walk(&SYSCTL, items), both(&SYSCTL)));
    }
    text
}

/// The guest's script. What is measured lies in memory, and the console is silent: a serial line takes a thousand
/// instructions for each letter.
fn script(files: &[&PathBuf]) -> String {
    let files: Vec<String> = files
        .iter()
        .map(|file| quote(&file.to_string_lossy()))
        .collect();
    format!(
        "set -e\n\
         mkdir /run/bench\n\
         mount -t tmpfs none /run/bench\n\
         for from in {}; do cp -r \"$from\" /run/bench/; done\n\
         mv /run/bench/stripped/*.ko /run/bench/\n\
         echo N > /sys/module/printk/parameters/ignore_loglevel\n\
         dmesg -n 2\n\
         /run/bench/meter < /run/bench/orders\n\
         if dmesg | grep -E 'WARNING: |BUG: '; then exit 1; fi\n\
         echo '{DONE}'\n",
        files.join(" ")
    )
}

/// What was measured: by cycle, livepatch and quantity, one number for each round.
type Seen = BTreeMap<(String, String, String), Vec<f64>>;

fn boot(kernel: &Kernel, modules: &Path, files: &[&PathBuf]) -> Result<Seen> {
    let mut guest = Guest::new("bench", script(files));
    guest.memory_mib = 4096;
    guest.timeout = Duration::from_secs(3600);
    eprintln!("measuring in a guest that counts its instructions; this takes minutes");
    let outcome = vm::run(kernel, &guest, |_| {})?;
    // While udev waits, too, the clock leaps, and now and then it gives up on the port that carries the output;
    // then the console has it.
    let said = outcome.output.clone() + &outcome.console_text();
    if outcome.end == End::Panicked || !said.lines().any(|line| line == DONE) {
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        for line in last.iter().rev() {
            eprintln!("{line}");
        }
        eprint!("{}", report::guest_trouble(kernel, modules, &outcome));
        bail!(outcome.failure().unwrap_or(Failure::Work(
            "the guest of the bench failed; its last lines stand above".to_owned()
        )));
    }
    let mut seen = Seen::new();
    for (key, number) in said.lines().filter_map(parse) {
        seen.entry(key).or_default().push(number);
    }
    Ok(seen)
}

/// `@ CYCLE LIVEPATCH WHAT NUMBER`
fn parse(line: &str) -> Option<((String, String, String), f64)> {
    let mut words = line.strip_prefix("@ ")?.split(' ').map(str::to_owned);
    let key = (words.next()?, words.next()?, words.next()?);
    Some((key, words.next()?.parse().ok()?))
}

/// The rows of the table out of what was seen.
fn evaluate(seen: &Seen, amount: Amount, table: &mut Table) -> Result<()> {
    let get = |cycle: &str, name: &str, what: &str| -> Result<Vec<f64>> {
        seen.get(&(cycle.to_owned(), name.to_owned(), what.to_owned()))
            .cloned()
            .with_context(|| format!("the guest did not measure {what} of {name} in {cycle}"))
    };
    let pair = |cycle: &str, c: &str, rust: &str, what: &str| -> Result<(Vec<f64>, Vec<f64>)> {
        Ok((get(cycle, c, what)?, get(cycle, rust, what)?))
    };

    for twin in TWINS {
        let cycle = if twin.title == DEMO.title {
            DEMO.title.to_owned()
        } else {
            walk(twin, 1)
        };
        for (what, text) in [
            ("load_cpu", "insmod's own part"),
            ("complete_work", "insmod to \"patching complete\""),
            ("disable_cpu", "disabling, the writer's own part"),
            ("gone_work", "disabling to its end"),
        ] {
            let (c, rust) = pair(&cycle, twin.c, twin.rust, what)?;
            table.rows.push(Row::new(
                "Load and disable",
                format!("{}: {text}", twin.title),
                "instructions",
                &c,
                &rust,
            ));
        }
        let (c, rust) = pair(&cycle, twin.c, twin.rust, "gone")?;
        table.waits.push(Row::new(
            "",
            format!("{}: disabling to its end", twin.title),
            "ns",
            &c,
            &rust,
        ));
    }

    let callbacks = ["pre_patch", "post_patch", "pre_unpatch", "post_unpatch"];
    let (mut c, mut rust) = (vec![0.0; amount.rounds], vec![0.0; amount.rounds]);
    for callback in callbacks {
        let both = pair(DEMO.title, DEMO.c, DEMO.rust, &format!("{callback}_ticks"))?;
        for (sum, part) in [(&mut c, both.0), (&mut rust, both.1)] {
            sum.iter_mut()
                .zip(part)
                .for_each(|(sum, part)| *sum += part);
        }
    }
    table.rows.push(Row::new(
        "Callbacks",
        format!("{}: eight log lines", DEMO.title),
        "instructions",
        &c,
        &rust,
    ));
    for (twin, thing, callback) in [
        (&SYSCTL, "namespace", "pre_patch"),
        (&SYSCTL, "namespace", "post_unpatch"),
        (&SHADOW, "socket", "post_patch"),
        (&SHADOW, "socket", "post_unpatch"),
    ] {
        let what = format!("{callback}_ticks");
        let mut points = (vec![], vec![]);
        for count in amount.items(twin) {
            let (c, rust) = pair(&walk(twin, count), twin.c, twin.rust, &what)?;
            let row = Row::new(
                "Callbacks",
                format!(
                    "{}: {callback}, {count} {thing}{}",
                    twin.title,
                    if count == 1 { "" } else { "s" }
                ),
                "instructions",
                &c,
                &rust,
            );
            points.0.push((count as f64, row.c.median));
            points.1.push((count as f64, row.rust.median));
            table.rows.push(row);
        }
        table.growth.push(Growth::new(
            format!("{}: {callback}, {thing}s", twin.title),
            &points.0,
            &points.1,
        ));
    }

    for (twin, thing, callback) in [
        // What goes in the end was held: while the list grows its memory is in two places.
        (&SYSCTL, "namespace", "post_unpatch"),
        (&SHADOW, "socket", "post_patch"),
    ] {
        let most = amount.items(twin).last().unwrap_or(1);
        let (c, rust) = pair(
            &walk(twin, most),
            twin.c,
            twin.rust,
            &format!("{callback}_bytes"),
        )?;
        let each = |all: Vec<f64>| {
            all.into_iter()
                .map(|b| b.abs() / most as f64)
                .collect::<Vec<_>>()
        };
        table.rows.push(Row::new(
            "Memory",
            format!("{}: held for each {thing}, of {most}", twin.title),
            "bytes",
            &each(c),
            &each(rust),
        ));
    }

    let first = functions(generated::SIZES[0]);
    let shadow = walk(&SHADOW, amount.items(&SHADOW).nth(1).unwrap_or(1));
    for (cycle, c, rust, what, text) in [
        (
            &first,
            generated::patch("c", 1),
            generated::patch("rust", 1),
            "call",
            "1000 calls of a small function",
        ),
        (
            &shadow,
            SHADOW.c.to_owned(),
            SHADOW.rust.to_owned(),
            "read_cpu",
            "shadow-data: reading /proc/net/raw",
        ),
        (
            &shadow,
            SHADOW.c.to_owned(),
            SHADOW.rust.to_owned(),
            "open_cpu",
            "shadow-data: 100 raw sockets opened and closed",
        ),
    ] {
        let (in_c, in_rust) = pair(cycle, &c, &rust, what)?;
        let bare = get(cycle, "-", what)?;
        table.rows.push(Row::new(
            "Calls of what was replaced",
            text.to_owned(),
            "instructions",
            &in_c,
            &in_rust,
        ));
        table.bare.push(Row::new(
            "",
            format!("{text}: C"),
            "instructions",
            &bare,
            &in_c,
        ));
        table.bare.push(Row::new(
            "",
            format!("{text}: Rust"),
            "instructions",
            &bare,
            &in_rust,
        ));
    }

    for (what, text) in [
        ("complete_work", "insmod to \"patching complete\""),
        ("gone_work", "disabling to its end"),
    ] {
        let mut points = (vec![], vec![]);
        for size in amount.functions() {
            let (c, rust) = pair(
                &functions(size),
                &generated::patch("c", size),
                &generated::patch("rust", size),
                what,
            )?;
            let row = Row::new(
                "Patches with many functions",
                format!(
                    "{size} function{}: {text}",
                    if size == 1 { "" } else { "s" }
                ),
                "instructions",
                &c,
                &rust,
            );
            points.0.push((size as f64, row.c.median));
            points.1.push((size as f64, row.rust.median));
            table.rows.push(row);
        }
        table.growth.push(Growth::new(
            format!("functions: {text}"),
            &points.0,
            &points.1,
        ));
    }
    Ok(())
}

/// What was measured where, for the page.
pub fn machine(kernel: &Kernel) -> String {
    let tools = ["clang-19", "rustc", "qemu-system-x86_64"];
    let versions = tools.map(|tool| host::version_text(tool).unwrap_or_default());
    format!("Linux {}, {}", kernel.release, versions.join(", "))
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
    fn lines_of_the_guest_are_read() {
        let (key, number) = parse("@ demo x load_cpu 587168").unwrap();
        assert_eq!(key, ("demo".into(), "x".into(), "load_cpu".into()));
        assert_eq!(number, 587168.0);
        assert!(parse("@ demo x load_cpu").is_none());
        assert!(parse("insmod: no").is_none());
    }

    #[test]
    fn the_orders_keep_to_the_amount() {
        let orders = orders_for(SMALL);
        assert!(
            orders
                .contains("\nsockets 100\ncycle shadow-data-100 - ctwin_shadow_data shadow_data\n"),
            "{orders}"
        );
        assert!(!orders.contains("1000"), "{orders}");
        assert!(
            orders.contains("\ncycle functions-10 - bench_c_10 bench_rust_10\n"),
            "{orders}"
        );
    }

    #[test]
    fn a_number_that_is_missing_is_named() {
        let error = evaluate(&Seen::new(), SMALL, &mut Table::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("load_cpu of ctwin_callbacks_demo"),
            "{error}"
        );
    }
}

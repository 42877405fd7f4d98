// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The guest in which the twins are measured: what is built for it, what it is told to do, and what it says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use crate::make;
use crate::output;
use crate::root;
use crate::scratch;
use crate::twins::Amount;
use crate::twins::Pair;
use crate::twins::DEMO;
use crate::twins::SHADOW;
use crate::twins::SIZES;
use crate::twins::SYSCTL;
use crate::twins::TWINS;
use crate::xtask;

/// What the guest says at the end, when all went well.
const DONE: &str = "@ done";

/// A patch with more functions takes a minute to come and go, and is measured once.
const ONE_ROUND: usize = 100;

/// Build all modules; the answer is the folder that has them as they would be installed, without what only a debugger reads.
pub fn modules(amount: Amount) -> Result<PathBuf> {
    let said = output(&mut xtask(&[
        "build",
        "c-twins",
        "lifecycle",
        "selftests",
        "raw-opener",
        "sysctl-update",
    ])?)?;
    let built = said.lines().find_map(|line| line.strip_prefix("modules: "));
    let built = Path::new(built.context("`build` names no folder")?);
    eprintln!("building livepatches with many functions");
    let (source, many, stripped) = (scratch("source")?, scratch("many")?, scratch("stripped")?);
    let root = root().canonicalize()?;
    output(
        Command::new(root.join("scripts/bench/generate"))
            .arg(root.join("shared/klp"))
            .args(SIZES.map(|size| size.to_string()))
            .current_dir(&source),
    )?;
    make(&source, &many)?;
    let twins = TWINS.iter().flat_map(|twin| [twin.c, twin.rust]);
    let mut wanted: Vec<(&Path, String)> = twins
        .chain(["ctwin_meter", "test_klp_callbacks_mod"])
        .map(|name| (built, name.to_owned()))
        .collect();
    wanted.push((&many, "bench_target".to_owned()));
    wanted.extend(amount.functions().flat_map(|size| {
        ["c", "rust"].map(|language| (many.as_path(), format!("bench_{language}_{size}")))
    }));
    for (from, name) in wanted {
        let file = format!("{name}.ko");
        let (from, to) = (from.join(&file), stripped.join(&file));
        let mut strip = Command::new("llvm-objcopy-19");
        output(strip.arg("--strip-debug").args([from, to]))?;
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
        let once = if size > ONE_ROUND { "rounds 1\n" } else { "" };
        let _ = writeln!(
            text,
            "{once}cycle functions-{size} - bench_c_{size} bench_rust_{size}"
        );
    }
    let _ = write!(
        text,
        "rounds {rounds}\ncost -\nread /proc/net/raw\nopen 100\n"
    );
    for items in amount.items(&SHADOW) {
        let cycle = SHADOW.cycle(items);
        let _ = writeln!(
            text,
            "sockets {items}\ncycle {cycle} - {} {}",
            SHADOW.c, SHADOW.rust
        );
    }
    text += "read -\nopen 0\nwrite /proc/sys/net/ipv4/tcp_challenge_ack_limit 100\n";
    for items in amount.items(&SYSCTL) {
        let cycle = SYSCTL.cycle(items);
        let _ = writeln!(
            text,
            "namespaces {items}\ncycle {cycle} {} {}",
            SYSCTL.c, SYSCTL.rust
        );
    }
    text
}

/// Measure in a guest; the answer is what it said.
///
/// What is measured lies in memory, and the console is silent: a serial line takes a thousand instructions for each letter.
/// The program is linked statically: no part of it has to come from the host while it measures.
pub fn boot(stripped: &Path, amount: Amount) -> Result<String> {
    let root = root().canonicalize()?;
    let mut compile = Command::new("cc");
    compile.args(["-O2", "-Wall", "-static", "-o"]);
    output(compile.args([
        stripped.join("meter"),
        root.join("scripts/bench/src/meter.c"),
    ]))?;
    fs::write(stripped.join("orders"), orders(amount))?;
    let script = scratch("")?.join("guest.sh");
    let text = format!(
        "set -e\nmkdir /run/bench\nmount -t tmpfs none /run/bench\ncp '{}'/* /run/bench/\n\
         echo N > /sys/module/printk/parameters/ignore_loglevel\ndmesg -n 2\necho \"@release $(uname -r)\"\n\
         /run/bench/meter < /run/bench/orders\n\
         if dmesg | grep -Ef <(grep -v '^#' '{}'); then exit 1; fi\necho '{DONE}'\n",
        stripped.display(),
        root.join("selftests/complaints").display()
    );
    fs::write(&script, text).with_context(|| format!("writing {}", script.display()))?;
    eprintln!("measuring in a guest that counts its instructions; this takes minutes");
    let line = format!("bash '{}'", script.display());
    let words = ["shell", "--memory", "4096", "--timeout", "3600", "--"];
    let mut said = output(xtask(&words)?.arg(line))?;
    // While udev waits, too, the clock leaps, and now and then it gives up on the port that carries the output;
    // then the console has it.
    said += &String::from_utf8_lossy(&fs::read(root.join("target/vm/shell/console.log"))?);
    ensure!(
        said.lines().any(|line| line == DONE),
        "the guest of the bench failed; its log: target/vm/shell/console.log"
    );
    Ok(said)
}

/// What was measured: by cycle, livepatch and quantity, one number for each round.
pub struct Seen(BTreeMap<String, Vec<f64>>);

impl Seen {
    /// Lines `@ CYCLE LIVEPATCH WHAT NUMBER`.
    pub fn read(said: &str) -> Seen {
        let mut seen: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let lines = said.lines().filter_map(|line| line.strip_prefix("@ "));
        for (key, number) in lines.filter_map(|line| line.rsplit_once(' ')) {
            if let Ok(number) = number.parse() {
                seen.entry(key.to_owned()).or_default().push(number);
            }
        }
        Seen(seen)
    }

    pub fn get(&self, cycle: &str, name: &str, what: &str) -> Result<Vec<f64>> {
        let key = format!("{cycle} {name} {what}");
        let found = self.0.get(&key).cloned();
        found.with_context(|| format!("the guest did not measure {key}"))
    }

    /// Of a module in C and in Rust.
    pub fn pair(&self, cycle: &str, (c, rust): (&str, &str), what: &str) -> Result<Pair> {
        Ok([self.get(cycle, c, what)?, self.get(cycle, rust, what)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orders_keep_to_the_amount() {
        let text = orders(Amount {
            rounds: 1,
            items: 100,
            functions: 10,
        });
        for order in [
            "sockets 100\ncycle raw-opener-100 - ctwin_raw_opener raw_opener",
            "cycle functions-10 - bench_c_10 bench_rust_10",
        ] {
            assert!(text.contains(&format!("\n{order}\n")), "{text}");
        }
        assert!(!text.contains("1000"), "{text}");
    }
}

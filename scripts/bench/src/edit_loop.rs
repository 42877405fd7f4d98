// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask bench loop`: how long a person waits from an edit to its verdict, as ratios within one run.
//!
//! A second here is not a second elsewhere, so nothing is compared with another machine or day: the measure is a bare boot
//! of the same kernel, taken in turn with what is measured, so that a machine that is busy for a while is busy for both.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Stdio;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::output;
use crate::root;
use crate::stats::spread;
use crate::touch;
use crate::xtask;

/// The sample whose source is touched.
const SAMPLE: &str = "sysctl-update";
const SOURCE: &str = "samples/sysctl-update/sysctl_update.rs";

/// How much longer than a bare boot the way from an edit to its verdict should take at most.
const AIM: f64 = 3.0;

pub fn run(rounds: usize) -> Result<()> {
    eprintln!("warming up");
    // Once for the caches, and so that a broken test is said before anything is measured.
    boot()?;
    verdict()?;
    let mut seen = [vec![], vec![], vec![], vec![]];
    for round in 1..=rounds {
        seen[0].push(boot()?);
        touch(&root().join(SOURCE))?;
        seen[1].push(seconds(verdict)?);
        seen[2].push(last_guest()?);
        touch(&root().join(SOURCE))?;
        seen[3].push(seconds(|| {
            output(&mut xtask(&["build", SAMPLE])?).map(drop)
        })?);
        let last = |nr: usize| seen[nr].last().copied().unwrap_or(f64::NAN);
        eprintln!(
            "round {round} of {rounds}: boot {:.1} s, edit to verdict {:.1} s",
            last(0),
            last(1)
        );
    }
    let unit = spread(&seen[0])[1];
    println!("In units of a bare boot of the kernel to power-off (median of {rounds}, from least to most):");
    for (name, values) in [
        "a bare boot",
        "touch the source, `test sysctl-update`, verdict",
        "  of which the guest with its test cases",
        "  and building the module takes, alone",
    ]
    .iter()
    .zip(&seen)
    {
        let [least, median, most] = spread(values).map(|value| value / unit);
        println!("  {name:<48} {median:>6.2}  ({least:.2} to {most:.2})");
    }
    let ratio = spread(&seen[1])[1] / unit;
    let within = if ratio <= AIM {
        "within the"
    } else {
        "more than the"
    };
    println!("edit to verdict: {ratio:.1} bare boots, {within} {AIM} that are the aim");
    Ok(())
}

fn seconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// A boot that does nothing, to power-off: from the command line of the virtual machine, which `--verbose` tells, to the end.
fn boot() -> Result<f64> {
    let mut child = xtask(&["--verbose", "shell", "--", "true"])?
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut start = None;
    for line in BufReader::new(child.stderr.take().context("no pipe")?).lines() {
        let line = line?;
        if line.starts_with("% ") {
            start = Some(Instant::now());
        } else {
            eprintln!("{line}");
        }
    }
    match (child.wait()?.success(), start) {
        (true, Some(start)) => Ok(start.elapsed().as_secs_f64()),
        _ => bail!("the guest does not boot"),
    }
}

/// What a user types after an edit, and waits for.
fn verdict() -> Result<()> {
    let file = crate::scratch("")?.join("loop.json");
    let file = file.to_string_lossy();
    output(&mut xtask(&["test", SAMPLE, "--json", &file])?).map(drop)
}

/// How long the guest of the last test took.
fn last_guest() -> Result<f64> {
    let text = std::fs::read_to_string(crate::scratch("")?.join("loop.json"))?;
    // The run's own time comes first, then that of its one suite.
    let times = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("\"milliseconds\": "));
    let last: f64 = times
        .last()
        .context("no time in the results")?
        .trim_end_matches(',')
        .parse()?;
    Ok(last / 1000.0)
}

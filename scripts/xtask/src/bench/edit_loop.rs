// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask bench loop`: how long a person waits from an edit to its verdict, as ratios within one run.
//!
//! A second here is not a second elsewhere, so nothing is compared with another machine or day: the
//! measure is a bare boot of the same kernel in the same guest, taken in turn with what is measured,
//! so that a machine that is busy for a while is busy for both.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Result;

use super::stats::Spread;
use super::touch;
use crate::catalog;
use crate::cli::KernelArgs;
use crate::error::Failure;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::paths;
use crate::process;
use crate::report;
use crate::results;
use crate::vm;
use crate::vm::End;
use crate::vm::Guest;

/// The sample whose source is touched.
const SAMPLE: &str = "sysctl-update";

/// How much longer than a bare boot the way from an edit to its verdict should take at most.
const AIM: f64 = 3.0;

/// `cargo xtask bench loop`.
pub fn run(args: &KernelArgs, rounds: usize) -> Result<()> {
    let rounds = rounds.max(1);
    let sample = catalog::sample(SAMPLE)?;
    let source = sample.dir.join(format!("{}.rs", sample.livepatch.module));
    let kernel = Kernel::ensure(args)?;
    // Once for the caches, and so that a broken test is said before anything is measured.
    let modules = kbuild::build(&kernel, &[SAMPLE.to_owned()])?;
    eprintln!("warming up");
    boot(&kernel, &modules)?;
    verdict(args)?;

    let (mut boots, mut loops, mut guests, mut builds) = (vec![], vec![], vec![], vec![]);
    for round in 1..=rounds {
        boots.push(boot(&kernel, &modules)?);

        touch(&source)?;
        let start = Instant::now();
        kbuild::build(&kernel, &[SAMPLE.to_owned()])?;
        builds.push(start.elapsed().as_secs_f64());

        touch(&source)?;
        let start = Instant::now();
        verdict(args)?;
        loops.push(start.elapsed().as_secs_f64());
        guests.push(last_guest().unwrap_or(f64::NAN));
        eprintln!(
            "round {round} of {rounds}: boot {:.1} s, edit to verdict {:.1} s",
            boots.last().unwrap_or(&f64::NAN),
            loops.last().unwrap_or(&f64::NAN),
        );
    }

    let boot = Spread::of(&boots);
    println!("In units of a bare boot of Linux {} to power-off (median of {rounds}, from least to most):", kernel.release);
    println!("{}", line("a bare boot", &boot, boot.median));
    let whole = Spread::of(&loops);
    println!(
        "{}",
        line(
            "touch the source, `test sysctl-update`, verdict",
            &whole,
            boot.median
        )
    );
    println!(
        "{}",
        line(
            "  of which the guest with its test cases",
            &Spread::of(&guests),
            boot.median
        )
    );
    println!(
        "{}",
        line(
            "  and building the module takes, alone",
            &Spread::of(&builds),
            boot.median
        )
    );
    let ratio = whole.median / boot.median;
    println!(
        "edit to verdict: {ratio:.1} bare boots, {} {AIM} that are the aim",
        if ratio <= AIM {
            "within the"
        } else {
            "more than the"
        }
    );
    Ok(())
}

/// A boot that does nothing, to power-off, in seconds.
fn boot(kernel: &Kernel, modules: &Path) -> Result<f64> {
    let guest = Guest::new("bench-boot", "true");
    let start = Instant::now();
    let outcome = vm::run(kernel, &guest, |_| {})?;
    let took = start.elapsed().as_secs_f64();
    if outcome.end != End::Exited(0) {
        eprint!("{}", report::guest_trouble(kernel, modules, &outcome));
        bail!(outcome.failure().unwrap_or(Failure::TestFailed));
    }
    Ok(took)
}

/// What a user types after an edit, and waits for.
fn verdict(args: &KernelArgs) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["xtask", "test", SAMPLE])
        .current_dir(paths::root())
        .stdin(Stdio::null());
    // The kernel that was chosen here is the one to measure there.
    command.arg("--kernel").arg(&args.kernel);
    if let Some(source) = &args.source {
        command.arg("--kernel-source").arg(source);
    }
    let log = paths::target().join("xtask/bench.log");
    let status = process::logged(&mut command, &log, Some(Duration::from_secs(1800)), |_| {})?;
    if !status.success() {
        bail!(Failure::Host(format!(
            "`cargo xtask test {SAMPLE}` does not pass, so there is nothing to measure; log: {}",
            log.display()
        )));
    }
    Ok(())
}

/// How long the guest of the last run of the sample's test took, in seconds.
fn last_guest() -> Option<f64> {
    results::last()
        .suites
        .into_iter()
        .find(|suite| suite.name == SAMPLE)
        .map(|suite| suite.milliseconds as f64 / 1000.0)
}

fn line(name: &str, spread: &Spread, unit: f64) -> String {
    format!(
        "  {name:<48} {:>6.2}  ({:.2} to {:.2})",
        spread.median / unit,
        spread.least / unit,
        spread.most / unit
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_ratios() {
        let text = line("x", &Spread::of(&[2.0, 4.0, 8.0]), 2.0);
        assert!(text.ends_with("2.00  (1.00 to 4.00)"), "{text}");
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask bench`: starts the package `bench`, which measures by this tool's own commands.

use std::os::unix::process::CommandExt;

use anyhow::Context;
use anyhow::Result;

use crate::cargo;
use crate::cli::BenchArgs;
use crate::cli::BenchCommand;
use crate::cli::KernelArgs;
use crate::error;
use crate::parts;
use crate::paths;

/// `cargo xtask bench …`.
pub fn run(args: &KernelArgs, what: &BenchArgs) -> Result<()> {
    let mut words = match &what.what {
        Some(BenchCommand::Cold) => {
            print!("{}", parts::all());
            return Ok(());
        }
        Some(BenchCommand::Loop { rounds }) => vec!["loop".to_owned(), rounds.to_string()],
        None => vec!["compare".to_owned(), what.rounds.max(1).to_string()],
    };
    if args.debug {
        return Err(error::usage(
            "the debug kernel checks every step, and what it costs says nothing: leave out --debug",
        ));
    }
    words.extend(what.quick.then(|| "quick".to_owned()));
    words.extend(what.book.then(|| "book".to_owned()));
    // Its way back to this program and this kernel.
    let own = std::env::current_exe().context("finding this program")?;
    let mut own = format!("{}\n--kernel\n{}", own.display(), args.kernel);
    if let Some(source) = &args.source {
        own += &format!("\n--kernel-source\n{}", source.display());
    }
    // In our place, so that its exit status is ours.
    let error = cargo::command()
        .args(["run", "--quiet", "--package", "bench", "--"])
        .args(words)
        .env("XTASK", own)
        .current_dir(paths::root())
        .exec();
    Err(error).context("starting cargo")
}

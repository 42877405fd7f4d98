// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask bench`: what Rust costs against C, and how long a person waits, as ratios within one run.

mod edit_loop;
mod generated;
mod rebuild;
mod size;
mod stats;
mod table;
mod twins;

use std::fs;
use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use anyhow::Result;

use crate::cli::BenchArgs;
use crate::cli::BenchCommand;
use crate::cli::KernelArgs;
use crate::error;
use crate::kernel::Kernel;
use crate::parts;
use crate::paths;
use twins::Amount;

/// What the book includes.
const PAGE: &str = "book/src/reference/clocks-table.md";

/// `cargo xtask bench …`.
pub fn run(args: &KernelArgs, what: &BenchArgs) -> Result<()> {
    match &what.what {
        Some(BenchCommand::Cold) => {
            print!("{}", parts::all());
            Ok(())
        }
        Some(BenchCommand::Loop { rounds }) => edit_loop::run(args, *rounds),
        None => compare(args, what),
    }
}

/// Rust against C.
fn compare(args: &KernelArgs, what: &BenchArgs) -> Result<()> {
    if args.debug {
        return Err(error::usage(
            "the debug kernel checks every step, and what it costs says nothing: leave out --debug",
        ));
    }
    let rounds = what.rounds.max(1);
    let amount = if what.quick {
        Amount {
            rounds,
            items: 100,
            functions: 10,
        }
    } else {
        Amount {
            rounds,
            items: 10_000,
            functions: 1000,
        }
    };
    let kernel = Kernel::ensure(args)?;
    let mut table = twins::measure(&kernel, amount)?;
    if !what.quick {
        rebuild::rows(&kernel, rounds, &mut table)?;
    }
    let machine = twins::machine(&kernel);
    println!("{machine}; medians of {rounds} rounds");
    print!("{}", table.plain());
    if what.book {
        let page = paths::root().join(PAGE);
        fs::write(&page, table.markdown(&machine, rounds))
            .with_context(|| format!("writing {}", page.display()))?;
        println!("written: {PAGE}");
    }
    Ok(())
}

/// Make `file` newer than what was built from it.
fn touch(file: &Path) -> Result<()> {
    File::options()
        .append(true)
        .open(file)
        .and_then(|file| file.set_modified(SystemTime::now()))
        .with_context(|| format!("touching {}", file.display()))
}

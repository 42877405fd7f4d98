// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The host tool of the livepatch cookbook; `cargo xtask --help` lists what it does.

mod cli;

use clap::Parser;

fn main() {
    let _cli = cli::Cli::parse();
}

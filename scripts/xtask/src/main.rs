// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The host tool of the livepatch cookbook; `cargo xtask --help` lists what it does.

mod book;
mod cargo;
mod catalog;
mod citations;
mod cli;
mod demo;
mod error;
mod kbuild;
mod kernel;
mod kernel_pages;
mod ktap;
mod links;
mod lock;
mod matrix;
mod oops;
mod packages;
mod parts;
mod paths;
mod picture;
mod pipes;
mod process;
mod progress;
mod queue;
mod report;
mod results;
mod rules;
mod run;
mod series;
mod shell;
mod tables;
mod test;
mod tidy;
mod timeline;
mod vm;

use std::path::Path;
use std::process::ExitCode;

use anyhow::ensure;
use anyhow::Result;
use clap::Parser;

use cli::Cli;
use cli::Command;
use error::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    pipes::bear_closed();
    let began = in_build_root().and_then(|()| process::catch_signals());
    match began.and_then(|()| dispatch(&cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error),
    }
}

/// This tool runs in the build root, or says how to get there.
fn in_build_root() -> Result<()> {
    let hint = "this runs in the build root: use scripts/enter cargo xtask, after scripts/setup";
    // It lists what the build root holds; there is none elsewhere.
    let record = Path::new("/etc/livepatch-cookbook");
    ensure!(record.is_file(), Failure::Host(hint.to_owned()));
    Ok(())
}

fn dispatch(cli: &Cli) -> Result<()> {
    vm::set_verbose(cli.verbose);
    let kernel = &cli.kernel;
    match &cli.command {
        Command::Kernel { make } => kernel::run(kernel, *make),
        Command::Build { names } => kbuild::run(kernel, names),
        Command::Check => cargo::check(kernel),
        Command::Clippy => cargo::clippy(kernel),
        Command::Doc => cargo::doc(kernel).map(|folder| {
            println!("documentation: {}", folder.join("klp/index.html").display());
        }),
        Command::RustAnalyzer => cargo::rust_analyzer(kernel),
        Command::Run(options) => run::run(kernel, options),
        Command::Demo => demo::run(kernel),
        Command::Test(options) => test::run(kernel, options),
        Command::Matrix(options) => matrix::run(kernel, options),
        Command::Book { serve } => book::run(kernel, *serve),
        Command::BookApi { supports, .. } => book::link_items(supports.as_deref()),
        Command::Rules => rules::run(),
        Command::Series => series::run(kernel),
        Command::Tidy => tidy::run(),
        Command::Shell(options) => shell::run(kernel, options),
        Command::Bench { what } => packages::bench(kernel, what),
        Command::Facts => packages::facts(kernel),
        Command::Ask {
            function, object, ..
        } => packages::ask(kernel, function.as_deref(), object.as_deref()),
        Command::New { name, what } => packages::new(kernel, name, what),
        Command::Translate { patch } => packages::translate(kernel, patch),
        Command::Preflight { modules, json } => packages::preflight(kernel, modules, *json),
    }
}

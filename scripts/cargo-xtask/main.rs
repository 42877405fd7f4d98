// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask`, on the host and in the build root alike: enters the build root, where it is not there yet, and runs the
//! host tool with the cargo that is found there. Depends on nothing, so that any cargo builds it at once.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let enter = scripts.join("enter");
    let mut command = Command::new(&enter);
    command.args(["cargo", "run", "--package", "xtask"]);
    // The first time takes half a minute, in which cargo should say what it does.
    if scripts.join("../target/debug/xtask").exists() {
        command.arg("--quiet");
    }
    let error = command.arg("--").args(std::env::args_os().skip(1)).exec();
    eprintln!("cargo-xtask: {}: {error}", enter.display());
    ExitCode::from(3)
}

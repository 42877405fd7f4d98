// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask`, on the host and in the build root alike: enters the build root, where it is not there yet, and runs the
//! host tool with the cargo that is found there. Depends on nothing, so that any cargo builds it at once.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    let enter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../enter");
    let error = Command::new(&enter)
        .args(["cargo", "run", "--quiet", "--package", "xtask", "--"])
        .args(std::env::args_os().skip(1))
        .exec();
    eprintln!("cargo-xtask: {}: {error}", enter.display());
    ExitCode::from(3)
}

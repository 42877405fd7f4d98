// SPDX-License-Identifier: GPL-2.0 OR MIT

use anyhow::Result;

use crate::cli::KernelArgs;
use crate::error;

use crate::cli::BenchCommand;

pub fn run(_kernel: &KernelArgs, _what: &BenchCommand) -> Result<()> {
    Err(error::host("bench: not there yet"))
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

use anyhow::Result;

use crate::cli::KernelArgs;
use crate::error;

pub fn run(_kernel: &KernelArgs, _name: &str, _params: &[String]) -> Result<()> {
    Err(error::host("run: not there yet"))
}

pub fn demo(_kernel: &KernelArgs) -> Result<()> {
    Err(error::host("demo: not there yet"))
}

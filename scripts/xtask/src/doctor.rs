// SPDX-License-Identifier: GPL-2.0 OR MIT

use anyhow::Result;

use crate::cli::KernelArgs;
use crate::error;

pub fn run(_kernel: &KernelArgs) -> Result<()> {
    Err(error::host("doctor: not there yet"))
}

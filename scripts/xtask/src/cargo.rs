// SPDX-License-Identifier: GPL-2.0 OR MIT

use anyhow::Result;

use crate::cli::KernelArgs;
use crate::error;

pub fn check(_kernel: &KernelArgs) -> Result<()> {
    Err(error::host("check: not there yet"))
}

pub fn clippy(_kernel: &KernelArgs) -> Result<()> {
    Err(error::host("clippy: not there yet"))
}

pub fn doc(_kernel: &KernelArgs) -> Result<()> {
    Err(error::host("doc: not there yet"))
}

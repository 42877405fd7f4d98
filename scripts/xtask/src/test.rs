// SPDX-License-Identifier: GPL-2.0 OR MIT

use std::path::Path;

use anyhow::Result;

use crate::cli::KernelArgs;
use crate::error;

pub fn run(
    _kernel: &KernelArgs,
    _pattern: Option<&str>,
    _json: Option<&Path>,
    _junit: Option<&Path>,
) -> Result<()> {
    Err(error::host("test: not there yet"))
}

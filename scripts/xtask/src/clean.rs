// SPDX-License-Identifier: GPL-2.0 OR MIT

use anyhow::Result;

use crate::error;

pub fn run() -> Result<()> {
    Err(error::host("clean: not there yet"))
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How long the build of one module takes after its source was touched.

use std::time::Instant;

use anyhow::Result;

use super::table::Row;
use super::table::Table;
use super::touch;
use super::twins::SYSCTL;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::paths;

/// The folders of the same module in C and in Rust.
const FOLDERS: [&str; 2] = ["c-twins", "sysctl-update"];

/// Both in turn: on a machine that is busy, it is busy for both.
pub fn rows(kernel: &Kernel, rounds: usize, table: &mut Table) -> Result<()> {
    let root = paths::root();
    let sources = [
        root.join(format!("selftests/modules/c-twins/{}.c", SYSCTL.c)),
        root.join(format!("samples/sysctl-update/{}.rs", SYSCTL.rust)),
    ];
    let mut took = [vec![], vec![]];
    for _ in 0..rounds {
        for ((source, folder), took) in sources.iter().zip(FOLDERS).zip(&mut took) {
            touch(source)?;
            let start = Instant::now();
            kbuild::build(kernel, &[folder.to_owned()])?;
            took.push(start.elapsed().as_secs_f64() * 1000.0);
        }
    }
    table.rows.push(Row::new(
        "Building",
        format!("{}: touched and built again", SYSCTL.title),
        "host ms",
        &took[0],
        &took[1],
    ));
    Ok(())
}

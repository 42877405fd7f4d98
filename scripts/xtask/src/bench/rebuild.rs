// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How long the build of one module takes after its source was touched.

use std::time::Instant;

use anyhow::Result;

use super::generated::make;
use super::table::Row;
use super::table::Table;
use super::touch;
use super::twins::SYSCTL;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::paths;

/// Both in turn: on a machine that is busy, it is busy for both.
pub fn rows(kernel: &Kernel, rounds: usize, table: &mut Table) -> Result<()> {
    let root = paths::root();
    let out = kbuild::output_dir(kernel).join("bench/rebuild");
    let sides = [
        ("selftests/modules/c-twins", format!("{}.c", SYSCTL.c)),
        ("samples/sysctl-update", format!("{}.rs", SYSCTL.rust)),
    ];
    let mut took = [vec![], vec![]];
    // The first round builds all that the folder has, and does not count.
    for round in 0..=rounds {
        for ((folder, source), took) in sides.iter().zip(&mut took) {
            touch(&root.join(folder).join(source))?;
            let start = Instant::now();
            make(kernel, &root.join(folder), &out.join(folder))?;
            if round > 0 {
                took.push(start.elapsed().as_secs_f64() * 1000.0);
            }
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

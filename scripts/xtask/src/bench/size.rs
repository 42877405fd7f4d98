// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How large the modules are.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use super::table::Row;
use super::table::Table;
use super::twins::TWINS;
use crate::host;
use crate::process;

/// Code and file of each module, as `llvm-size` and the file system have it.
pub fn rows(modules: &Path, table: &mut Table) -> Result<()> {
    for twin in TWINS {
        let (c, rust) = (of(modules, twin.c)?, of(modules, twin.rust)?);
        let mut row = |what: &str, c: u64, rust: u64| {
            table.rows.push(Row::new(
                "Size",
                format!("{}: {what}", twin.title),
                "bytes",
                &[c as f64],
                &[rust as f64],
            ));
        };
        row("code", c.code, rust.code);
        row("the .ko, without debug info", c.file, rust.file);
    }
    Ok(())
}

struct Size {
    code: u64,
    file: u64,
}

fn of(modules: &Path, name: &str) -> Result<Size> {
    let file = modules.join(format!("{name}.ko"));
    let sections = process::capture(
        Command::new(format!("llvm-size{}", host::LLVM))
            .arg("-A")
            .arg(&file),
    )?;
    Ok(Size {
        code: code(&sections),
        file: fs::metadata(&file)
            .with_context(|| format!("reading {}", file.display()))?
            .len(),
    })
}

/// All sections of code in what `llvm-size -A` prints.
fn code(sections: &str) -> u64 {
    sections
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?;
            let size: u64 = words.next()?.parse().ok()?;
            name.ends_with(".text").then_some(size)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_the_text_of_all_kinds() {
        let text = "x.ko  :\nsection  size  addr\n.text  5704  0\n.init.text  50  0\n.data  7  0\nTotal 9\n";
        assert_eq!(code(text), 5754);
    }
}

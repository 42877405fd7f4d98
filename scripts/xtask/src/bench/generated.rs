// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A module with many functions, and livepatches in C and in Rust that replace the first of them.
//!
//! Nothing of it is kept: the text goes below `target/` and is built there.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::error::Failure;
use crate::host;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::lock::lock;
use crate::paths;
use crate::process;

/// How many functions a patch replaces.
pub const SIZES: [usize; 4] = [1, 10, 100, 1000];

/// The module with the functions.
pub const TARGET: &str = "bench_target";

/// The first function, which every patch replaces, as a kprobe names it.
pub const FIRST: &str = "bench_target:bench_0000";

/// The livepatch in C or in Rust that replaces `size` functions.
pub fn patch(language: &str, size: usize) -> String {
    format!("bench_{language}_{size}")
}

/// Write and build everything; gives the folder with the `.ko` files.
pub fn build(kernel: &Kernel) -> Result<PathBuf> {
    let folder = kbuild::output_dir(kernel).join("bench");
    let source = folder.join("source");
    let out = folder.join("out");
    for dir in [&source, &out] {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let _lock = lock(&folder.join("lock"), "builds the modules of the bench")?;
    write(
        &source,
        "Kbuild",
        &kbuild_file(&paths::root().join("shared/klp")),
    )?;
    write(&source, &format!("{TARGET}.c"), &target())?;
    for size in SIZES {
        write(&source, &format!("{}.c", patch("c", size)), &in_c(size))?;
        write(
            &source,
            &format!("{}.rs", patch("rust", size)),
            &in_rust(size),
        )?;
    }
    make(kernel, &source, &out)?;
    Ok(out)
}

/// Build the modules of `source` in `out`, which no other part of this tool knows, so that no lock is waited for.
pub fn make(kernel: &Kernel, source: &Path, out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let log = out.with_extension("log");
    let mut command = kernel.make();
    command
        .arg("--no-print-directory")
        .arg(format!("M={}", source.display()))
        .arg(format!("MO={}", out.display()))
        .arg(format!("-j{}", host::jobs()))
        .arg("modules");
    let status = process::logged(&mut command, &log, None, |_| {})?;
    if !status.success() {
        bail!(Failure::Work(format!(
            "building {} failed; log: {}",
            source.display(),
            log.display()
        )));
    }
    Ok(())
}

/// Write what has changed only, so that make has nothing to do the next time.
fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let file = folder.join(name);
    if fs::read_to_string(&file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}

fn kbuild_file(klp: &Path) -> String {
    let mut text = format!("# SPDX-License-Identifier: GPL-2.0\nobj-m += {TARGET}.o\n");
    for size in SIZES {
        let _ = writeln!(
            text,
            "obj-m += {}.o\nklp-m += {}",
            patch("c", size),
            patch("rust", size)
        );
    }
    let _ = writeln!(text, "KLP := {}\ninclude $(KLP)/klp.mk", klp.display());
    text
}

const C_HEAD: &str = "// SPDX-License-Identifier: GPL-2.0
#include <linux/livepatch.h>
#include <linux/module.h>
";

fn c_tail(info: &str) -> String {
    format!(
        "module_init(bench_init);\nmodule_exit(bench_exit);\nMODULE_DESCRIPTION(\"Bench: many functions\");\n\
         MODULE_LICENSE(\"GPL\");\n{info}"
    )
}

/// The functions differ, so that nobody makes one of them.
fn target() -> String {
    let mut text = format!("{C_HEAD}#define F(name, n) static noinline __used u64 name(u64 value) {{ barrier(); return value + n; }}\n");
    for nr in 0..SIZES[SIZES.len() - 1] {
        let _ = writeln!(text, "F(bench_{nr:04}, {nr})");
    }
    text.push_str(
        "static int __init bench_init(void) { return 0; }\nstatic void __exit bench_exit(void) { }\n",
    );
    text.push_str(&c_tail(""));
    text
}

fn in_c(size: usize) -> String {
    let mut text =
        format!("{C_HEAD}#define F(name, n) static u64 name(u64 value) {{ return value ^ n; }}\n");
    for nr in 0..size {
        let _ = writeln!(text, "F(new_{nr:04}, {nr})");
    }
    text.push_str("static struct klp_func funcs[] = {\n");
    for nr in 0..size {
        let _ = writeln!(
            text,
            "\t{{ .old_name = \"bench_{nr:04}\", .new_func = new_{nr:04} }},"
        );
    }
    let _ = write!(
        text,
        "\t{{ }}\n}};\n\
         static struct klp_object objs[] = {{ {{ .name = \"{TARGET}\", .funcs = funcs }}, {{ }} }};\n\
         static struct klp_patch patch = {{ .mod = THIS_MODULE, .objs = objs }};\n\
         static int __init bench_init(void) {{ return klp_enable_patch(&patch); }}\n\
         static void __exit bench_exit(void) {{ }}\n"
    );
    text.push_str(&c_tail("MODULE_INFO(livepatch, \"Y\");\n"));
    text
}

fn in_rust(size: usize) -> String {
    let name = patch("rust", size);
    let mut text = format!(
        "// SPDX-License-Identifier: GPL-2.0\n\
         //! Bench: many functions.\n\
         use kernel::prelude::*;\n\
         klp::livepatch! {{\n    type: Bench, name: \"{name}\", authors: [\"The livepatch cookbook\"],\n    \
         description: \"Bench: many functions\", license: \"GPL\",\n    \
         objects: [ \"{TARGET}\" {{ functions: [\n"
    );
    for nr in 0..size {
        let _ = writeln!(
            text,
            "        // SAFETY: The declaration is that of the target.\n        \
             unsafe fn bench_{nr:04}(u64) -> u64 = new_{nr:04},"
        );
    }
    text.push_str(
        "    ], }, ],\n}\nstruct Bench;\nimpl klp::Livepatch for Bench {\n    \
         fn init(_module: &'static ThisModule) -> Result<Self> { Ok(Self) }\n}\n",
    );
    for nr in 0..size {
        let _ = writeln!(
            text,
            "extern \"C\" fn new_{nr:04}(value: u64) -> u64 {{ value ^ {nr} }}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_replace_the_same() {
        let (c, rust) = (in_c(10), in_rust(10));
        assert_eq!(c.matches(".old_name").count(), 10);
        assert_eq!(rust.matches("unsafe fn bench_").count(), 10);
        assert!(c.contains("F(new_0009, 9)\n"), "{c}");
        assert!(rust.contains("fn new_0009(value: u64) -> u64 { value ^ 9 }"));
        assert!(target().contains("F(bench_0999, 999)\n"));
    }

    #[test]
    fn the_first_function_is_the_targets() {
        assert_eq!(FIRST.split_once(':').unwrap().0, TARGET);
        assert!(target().contains("F(bench_0000, 0)"));
    }

    #[test]
    fn what_is_the_same_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "x", "1").unwrap();
        let before = fs::metadata(dir.path().join("x"))
            .unwrap()
            .modified()
            .unwrap();
        write(dir.path(), "x", "1").unwrap();
        let after = fs::metadata(dir.path().join("x"))
            .unwrap()
            .modified()
            .unwrap();
        assert_eq!(before, after);
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel's configuration: `allnoconfig` plus two fragments, checked afterwards, since Kconfig
//! drops without a word what it cannot give.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::error;
use crate::paths;
use crate::process;

/// The options that the tests and the virtual machine ask for, in the form of a `.config`; with
/// `debug` also the kernel's own checkers.
pub fn fragments(debug: bool) -> Result<String> {
    let mut names = vec!["selftests/config", "scripts/xtask/vm.config"];
    if debug {
        names.push("scripts/xtask/debug.config");
    }
    let mut all = String::new();
    for name in names {
        let path = paths::root().join(name);
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        // Comments may change without a new kernel.
        for line in text.lines().filter(|l| l.starts_with("CONFIG_")) {
            all.push_str(line.trim_end());
            all.push('\n');
        }
    }
    Ok(all)
}

/// Make `build/.config` from `fragments`, and check that it gives everything they ask for.
pub fn configure(
    make: &dyn Fn(&[&str]) -> Command,
    dir: &Path,
    build: &Path,
    fragments: &str,
) -> Result<()> {
    let file = dir.join("all.config");
    fs::write(&file, fragments).with_context(|| format!("writing {}", file.display()))?;
    let log = dir.join("config.log");
    let mut complaint = String::new();
    let status = process::logged(
        make(&["allnoconfig"]).env("KCONFIG_ALLCONFIG", &file),
        &log,
        None,
        |line| {
            if line.contains("***") && complaint.is_empty() {
                complaint = line.to_owned();
            }
        },
    )?;
    if !status.success() {
        return Err(error::host(format!(
            "configuring the kernel failed; log: {}\n{complaint}",
            log.display()
        )));
    }
    let path = build.join(".config");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let missing = not_given(fragments, &text);
    if missing.is_empty() {
        return Ok(());
    }
    let hint = if missing.iter().any(|m| m.starts_with("CONFIG_RUST=")) {
        "; this tree or toolchain has no Rust support (`make rustavailable` in it says why)"
    } else {
        ""
    };
    Err(error::host(format!(
        "this kernel cannot be configured as asked: {}{hint}; use the Linux 7.2 that is fetched by default, or another source",
        missing.join(", ")
    )))
}

/// The assignments of a `.config`; an option that is not there is `n`.
pub fn parse(config: &str) -> BTreeMap<&str, &str> {
    config
        .lines()
        .filter_map(|line| line.trim().strip_prefix("CONFIG_")?.split_once('='))
        .collect()
}

/// What `asked` wants and `config` does not have, each as `CONFIG_X=y`.
pub fn not_given(asked: &str, config: &str) -> Vec<String> {
    let config = parse(config);
    parse(asked)
        .into_iter()
        .filter(|(name, value)| config.get(name).unwrap_or(&"n") != value)
        .map(|(name, value)| format!("CONFIG_{name}={value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_option_is_noticed() {
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_D=y\n";
        assert_eq!(
            not_given("CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=m\n", config),
            Vec::<String>::new()
        );
        assert_eq!(
            not_given("CONFIG_B=y\nCONFIG_C=y\nCONFIG_D=n\nCONFIG_E=n\n", config),
            ["CONFIG_B=y", "CONFIG_C=y", "CONFIG_D=n"]
        );
    }

    #[test]
    fn the_fragments_ask_for_each_option_once() {
        for debug in [false, true] {
            let text = fragments(debug).unwrap();
            assert_eq!(parse(&text).len(), text.lines().count());
            assert_eq!(parse(&text)["LIVEPATCH"], "y");
            assert_eq!(parse(&text)["RUST"], "y");
            assert_eq!(parse(&text).contains_key("KASAN"), debug);
        }
    }
}

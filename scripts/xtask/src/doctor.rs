// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is present, which version, what is missing and how to get it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use console::style;

use crate::cli::KernelArgs;
use crate::error;
use crate::host;
use crate::host::Llvm;
use crate::host::Rust;
use crate::host::Tool;
use crate::kernel::Kernel;
use crate::paths;
use crate::process;
use crate::progress;

/// What one line of the report says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Present: its version, and where.
    Present(String),
    /// Missing: how to get it.
    Missing(String),
    /// Not needed here, or not there yet and made when needed.
    Note(String),
}

/// `cargo xtask doctor`.
pub fn run(args: &KernelArgs) -> Result<()> {
    let mut report = Report::default();
    report.add("distribution", distribution());
    tools(&mut report);
    packages(&mut report)?;
    report.add("virtme-ng", virtme());
    report.add("kvm", kvm());
    report.add("cache", cache()?);
    report.add("kernel", kernel(args));
    match report.missing {
        0 => Ok(()),
        n => Err(error::host(format!(
            "{n} missing; `scripts/setup` installs what it can"
        ))),
    }
}

#[derive(Default)]
struct Report {
    missing: usize,
}

impl Report {
    fn add(&mut self, name: &str, state: State) {
        let (mark, text) = match &state {
            State::Present(text) => (style("ok     ").green(), text),
            State::Missing(text) => (style("MISSING").red().bold(), text),
            State::Note(text) => (style("-      ").dim(), text),
        };
        println!("{mark} {name:<22} {text}");
        self.missing += usize::from(matches!(state, State::Missing(_)));
    }
}

/// The fields of an os-release file.
fn os_release(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key, value.trim_matches(['"', '\''])))
        .collect()
}

/// The Debian release that this is, if it is one.
fn debian_release(text: &str) -> Option<String> {
    let fields = os_release(text);
    (fields.get("ID") == Some(&"debian"))
        .then(|| fields.get("VERSION_ID").map(|v| (*v).to_owned()))
        .flatten()
}

fn release_text() -> String {
    fs::read_to_string("/etc/os-release").unwrap_or_default()
}

fn distribution() -> State {
    let text = release_text();
    let fields = os_release(&text);
    let name = fields.get("PRETTY_NAME").unwrap_or(&"unknown");
    match debian_release(&text).as_deref() {
        Some("12" | "13") => State::Present(format!("{name}, {}", std::env::consts::ARCH)),
        _ => State::Note(format!(
            "{name}: only Debian 12 and 13 are tested; get what scripts/packages lists by your own means"
        )),
    }
}

fn tools(report: &mut Report) {
    let get = || "scripts/setup installs it".to_owned();
    let found = |tool: &Tool| State::Present(format!("{}  {}", tool.text, tool.path.display()));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    report.add(
        "cargo",
        host::version_text(&cargo).map_or_else(|_| State::Missing(get()), State::Present),
    );
    let rust = Rust::find();
    report.add(
        "rustc",
        rust.as_ref().map_or_else(
            || {
                State::Missing(format!(
                    ">= {} with its library's source; {}",
                    host::MIN_RUSTC,
                    get()
                ))
            },
            |r| found(&r.rustc),
        ),
    );
    if let Some(rust) = &rust {
        report.add(
            "rust library source",
            State::Present(rust.library.display().to_string()),
        );
        for companion in ["rustdoc", "clippy-driver", "rustfmt"] {
            let state = rust.companion(companion).map_or_else(
                || State::Missing(format!("beside {}; {}", rust.rustc.path.display(), get())),
                |path| State::Present(path.display().to_string()),
            );
            report.add(companion, state);
        }
    }
    match Llvm::find() {
        Some(llvm) => {
            report.add("clang, lld, llvm", found(&llvm.clang));
            report.add(
                "libclang",
                State::Present(llvm.libclang.display().to_string()),
            );
        }
        None => report.add(
            "clang, lld, llvm",
            State::Missing(format!(
                ">= {} and libclang of the same version; {}",
                host::MIN_LLVM,
                get()
            )),
        ),
    }
    report.add(
        "bindgen",
        host::find_bindgen().as_ref().map_or_else(
            || State::Missing(format!(">= {}; {}", host::MIN_BINDGEN, get())),
            found,
        ),
    );
}

/// One line of `scripts/packages`.
#[derive(Debug, PartialEq, Eq)]
struct Package<'a> {
    releases: Vec<&'a str>,
    name: &'a str,
    /// What makes it unnecessary.
    unless: Option<&'a str>,
    purpose: &'a str,
}

fn parse_packages(text: &str) -> Result<Vec<Package<'_>>> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (releases, rest) = line.split_once(char::is_whitespace)?;
            let (name, rest) = rest.trim_start().split_once(char::is_whitespace)?;
            let (unless, purpose) = rest.trim_start().split_once(char::is_whitespace)?;
            Some(Package {
                releases: releases.split(',').collect(),
                name,
                unless: (unless != "-").then_some(unless),
                purpose: purpose.trim(),
            })
        })
        .collect::<Option<_>>()
        .context("scripts/packages has a line with fewer than four columns")
}

fn packages(report: &mut Report) -> Result<()> {
    let Some(release) = debian_release(&release_text()) else {
        return Ok(());
    };
    let path = paths::root().join("scripts/packages");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let installed = process::capture(Command::new("dpkg-query").args([
        "-W",
        "-f",
        "${db:Status-Abbrev}|${Package}|${Version}\n",
    ]))?;
    let installed = installed_packages(&installed);
    let have_rust = Rust::find().is_some();
    for package in parse_packages(&text)? {
        if !package.releases.contains(&release.as_str()) {
            continue;
        }
        let state = match (installed.get(package.name), package.unless) {
            (Some(version), _) => State::Present((*version).to_owned()),
            // Cargo runs us.
            (None, Some("cargo")) => State::Note("not needed: there is another cargo".to_owned()),
            (None, Some("rustc")) if have_rust => {
                State::Note("not needed: there is another rustc".to_owned())
            }
            _ => State::Missing(format!(
                "apt-get install {}  ({})",
                package.name, package.purpose
            )),
        };
        report.add(package.name, state);
    }
    Ok(())
}

fn installed_packages(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split('|');
            let (state, name, version) = (fields.next()?, fields.next()?, fields.next()?);
            (state.trim() == "ii").then_some((name, version))
        })
        .collect()
}

fn virtme() -> State {
    match paths::vng() {
        Ok(path) => match host::version_text(&path) {
            Ok(text) => State::Present(format!("{text}  {}", path.display())),
            Err(error) => State::Missing(format!(
                "{} does not run ({error:#}); remove {} and run scripts/setup",
                path.display(),
                path.parent()
                    .and_then(Path::parent)
                    .unwrap_or(&path)
                    .display()
            )),
        },
        Err(error) => State::Missing(format!("{error:#}")),
    }
}

fn kvm() -> State {
    let device = PathBuf::from("/dev/kvm");
    if !device.exists() {
        return State::Note("no /dev/kvm: guests run under TCG, which is slower".to_owned());
    }
    match fs::OpenOptions::new().read(true).write(true).open(&device) {
        Ok(_) => State::Note(
            "/dev/kvm opens; it is used once a guest was seen to boot with it".to_owned(),
        ),
        Err(error) => State::Note(format!(
            "/dev/kvm: {error}; guests run under TCG, which is slower"
        )),
    }
}

fn cache() -> Result<State> {
    let dir = paths::cache()?;
    let free = host::free_space(&dir)?;
    Ok(State::Present(format!(
        "{}, {} free",
        dir.display(),
        progress::size(free)
    )))
}

fn kernel(args: &KernelArgs) -> State {
    match Kernel::resolve(args) {
        Ok(kernel) => State::Present(format!("{}  {}", kernel.release, kernel.build.display())),
        // Nobody has to do anything: whatever needs it builds it.
        Err(error) if args.dir.is_none() => State::Note(format!("{error:#}")),
        Err(error) => State::Missing(format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_read() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n";
        assert_eq!(debian_release(text).as_deref(), Some("12"));
        assert_eq!(debian_release("ID=fedora\nVERSION_ID=41\n"), None);
        assert_eq!(debian_release("ID=debian\n"), None);
    }

    #[test]
    fn the_list_of_packages_is_in_order() {
        let text = fs::read_to_string(paths::root().join("scripts/packages")).unwrap();
        let packages = parse_packages(&text).unwrap();
        assert!(packages.len() > 20);
        for package in &packages {
            assert!(
                package.releases.iter().all(|r| ["12", "13"].contains(r)),
                "{package:?}"
            );
            assert!(
                matches!(package.unless, None | Some("cargo" | "rustc")),
                "{package:?}"
            );
        }
    }

    #[test]
    fn a_removed_package_is_not_installed() {
        let text = "ii |gcc|12.2\nrc |bc|1.07\n";
        assert_eq!(installed_packages(text), BTreeMap::from([("gcc", "12.2")]));
    }
}

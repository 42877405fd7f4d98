// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Debian's packages, by the build root's own apt: it knows the suite of backports and checks Debian's signatures.

use std::io;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use anyhow::Result;
use fs_err as fs;
use nix::errno::Errno;

use super::scratch;
use crate::error;
use crate::oops::pattern;
use crate::process;
use crate::process::Running;
use crate::progress::Progress;
use crate::progress::Unit;

/// A package at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// The name under which it is fetched.
    pub file: String,
    size: u64,
}

/// Read the suites' lists anew.
pub fn update() -> Result<()> {
    let log = scratch()?.join("update.log");
    eprintln!("reading Debian's lists of packages");
    let mut command = Command::new("apt-get");
    command.args(["-q", "--error-on=any", "-o", "Acquire::Retries=3", "update"]);
    if process::logged(&mut command, &log, |_| {})?.success() {
        return Ok(());
    }
    Err(explain(&fs::read_to_string(log)?))
}

/// `package` at its newest version, or at `version`; `None` where the suites have none.
pub fn find(package: &str, version: Option<&str>) -> Option<Package> {
    let asked = version.map_or_else(|| package.to_owned(), |v| format!("{package}={v}"));
    let mut show = Command::new("apt-cache");
    let text = process::capture(show.args(["show", "--no-all-versions", &asked])).ok()?;
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
    let (version, arch) = (field("Version: ")?, field("Architecture: ")?);
    Some(Package {
        name: package.to_owned(),
        version: version.to_owned(),
        file: format!("{package}_{}_{arch}.deb", version.replace(':', "%3a")),
        size: field("Size: ")?.parse().ok()?,
    })
}

/// What follows `prefix` in the names of all packages that begin with it.
pub fn names(prefix: &str) -> Vec<String> {
    let names = process::capture(Command::new("apt-cache").args(["pkgnames", prefix]));
    let names = names.unwrap_or_default();
    let rest = names.lines().filter_map(|name| name.strip_prefix(prefix));
    rest.map(str::to_owned).collect()
}

/// Fetch packages into `dir`; what is there already is used, if it is what was signed.
pub fn download(packages: &[Package], dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let log = dir.join("download.log");
    let file = fs::File::create(&log)?.into_file();
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-o", "APT::Sandbox::User=root"])
        .args(["-o", "Acquire::Retries=3", "download"])
        .args(packages.iter().map(|p| format!("{}={}", p.name, p.version)))
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let have = || -> u64 {
        fs::read_dir(dir)
            .into_iter()
            .flatten()
            .filter_map(|e| e.ok()?.metadata().ok())
            .filter(|m| m.is_file())
            .map(|m| m.len())
            .sum()
    };
    let total = packages.iter().map(|p| p.size).sum();
    let names: Vec<_> = packages.iter().map(|p| p.name.as_str()).collect();
    let title = format!("fetch {} {}", names.join(", "), packages[0].version);
    let mut progress = Progress::new(&title, Unit::Bytes, total, have().min(total));
    let status =
        Running::spawn(&mut command)?.wait_meanwhile(|| progress.set(have().min(total)))?;
    if !status.success() {
        drop(progress);
        return Err(explain(&fs::read_to_string(log)?));
    }
    progress.finish();
    Ok(())
}

/// What apt's log says, as one sentence that says what to do.
fn explain(log: &str) -> anyhow::Error {
    let says = |text: &str| pattern(text).is_match(log);
    let what = if says("No space left|don't have enough free space|Disk quota") {
        return io::Error::from(Errno::ENOSPC).into();
    } else if says("NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|invalid signature|not signed|isn't signed|no longer signed|Clearsigned|Hash Sum mismatch|verification failed|Missing key|unexpected size|not valid yet|expired") {
        "what the Debian mirror sent is not what Debian has signed: nothing of it was used; check this machine's clock, or try again later"
    } else if says("does not have a Release file|404  ?Not Found|Unable to locate package|No packages found") {
        "the Debian mirror lacks this suite or package: point the build root's apt at a full mirror"
    } else {
        "the Debian mirror cannot be reached: check the network (and http_proxy), then run this again"
    };
    error::host(format!("{what} ({})", quote(log)))
}

/// The reason that apt gave, in its words.
fn quote(log: &str) -> String {
    let of_mirror = pattern(r"(?m)^Err:.*(?:\n\S.*)*\n  (.*)$").captures(log);
    let reason = of_mirror.or_else(|| pattern(r"(?m)^E: (.*)$").captures(log));
    let reason = reason.as_ref().and_then(|found| found.get(1));
    let words = reason.map_or("apt-get gave no reason", |words| words.as_str());
    words.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_complaints_are_understood() {
        for (log, said) in [
            ("W: x: NO_PUBKEY 1\nE: x", "not what Debian has signed"),
            ("Err:1 x\n  Cannot resolve x", "cannot be reached"),
            ("E: x does not have a Release file.", "lacks this suite"),
        ] {
            let error = explain(log).to_string();
            assert!(error.contains(said), "{log}: {error}");
        }
        let full = explain("E: Write error - write (28: No space left on device)");
        assert!(super::super::is_out_of_space(&full));
    }

    #[test]
    fn apts_reason_is_quoted() {
        let log =
            "Err:1 http://x trixie InRelease\n  Could not connect to x:80\nE: Failed to fetch\n";
        assert_eq!(quote(log), "Could not connect to x:80");
        assert_eq!(
            quote("W: a\nE: The repository is not signed.\n"),
            "The repository is not signed."
        );
        assert_eq!(quote(""), "apt-get gave no reason");
    }
}

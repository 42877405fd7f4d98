// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel's source: Debian's package, fetched through a private apt that touches nothing of the
//! system's and that checks Debian's signature; or a tarball or tree that the user names.

use std::fs;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use regex::Regex;

use super::create;
use super::digest;
use super::need_space;
use super::no_space;
use crate::error;
use crate::host::Version;
use crate::process;
use crate::process::Running;
use crate::progress::Progress;
use crate::progress::Unit;

/// What is fetched, and the suite that has it.
const PACKAGE: &str = "linux-source-7.2";
const SUITE: &str = "trixie-backports";

/// Debian's own keys; nobody else's signature counts.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// What an unpacked source takes beside its archive: seen 1.8 GiB, and some room.
pub const SPACE: u64 = 5 << 29;

/// About how many files it has, for the bar.
const FILES: u64 = 101_000;

/// A source, unpacked or a tarball still.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is, or will be when it is unpacked.
    pub dir: PathBuf,
    /// The kernel's version, for people.
    pub version: String,
    /// What tells it from every other source.
    pub identity: String,
    /// The tarball to unpack first.
    tarball: Option<PathBuf>,
}

impl Source {
    /// The source that the user named, or the newest that was fetched; `None` for no source yet.
    pub fn known(named: Option<&Path>, cache: &Path) -> Result<Option<Source>> {
        match named {
            Some(named) => Source::named(named, cache).map(Some),
            None => Ok(Source::newest(&cache.join("source"))),
        }
    }

    pub fn unpacked(&self) -> bool {
        self.dir.join("Makefile").is_file()
    }

    fn named(named: &Path, cache: &Path) -> Result<Source> {
        let path = named.canonicalize().map_err(|e| {
            error::usage(format!(
                "--kernel-source {}: {e}; name a kernel's source tree or tarball",
                named.display()
            ))
        })?;
        if path.is_dir() {
            let version = check_tree(&path, named)?;
            let identity = path.to_string_lossy().into_owned();
            return Ok(Source {
                dir: path,
                version,
                identity,
                tarball: None,
            });
        }
        let meta = fs::metadata(&path).with_context(|| format!("reading {}", path.display()))?;
        let identity = format!("{} {} {}", path.display(), meta.len(), meta.mtime());
        let name = format!("tarball-{}", digest(&[&identity]));
        let dir = cache.join("source").join(&name);
        let version = tree_version(&dir).unwrap_or(name);
        Ok(Source {
            dir,
            version,
            identity,
            tarball: Some(path),
        })
    }

    fn newest(dir: &Path) -> Option<Source> {
        let entries = fs::read_dir(dir).ok()?;
        entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let package_version = name.strip_prefix(PACKAGE)?.strip_prefix('_')?;
                let order = Version::parse(package_version)?;
                Some((order, name.clone()))
            })
            .max()
            .and_then(|(_, name)| Source::packaged(&dir.join(name)))
    }

    fn packaged(dir: &Path) -> Option<Source> {
        Some(Source {
            dir: dir.to_path_buf(),
            version: tree_version(dir)?,
            identity: dir.file_name()?.to_string_lossy().into_owned(),
            tarball: None,
        })
    }
}

/// Is this the source of a kernel that can be configured elsewhere (`O=`)? Its version.
///
/// `named` is what the user called it.
fn check_tree(dir: &Path, named: &Path) -> Result<String> {
    let bad = |what: &str| error::usage(format!("--kernel-source {}: {what}", named.display()));
    let version = tree_version(dir)
        .filter(|_| dir.join("kernel/livepatch").is_dir())
        .ok_or_else(|| bad("this is not the source of a Linux kernel; name its top folder"))?;
    if !dir.join("rust/kernel").is_dir() {
        return Err(bad("this kernel has no Rust; take Linux 7.2 or newer"));
    }
    if dir.join(".config").exists() || dir.join("include/config").exists() {
        return Err(bad(
            "a kernel was configured in this tree; name it with --kernel, or run `make mrproper` in it first",
        ));
    }
    Ok(version)
}

/// The version that a tree's Makefile declares.
fn tree_version(dir: &Path) -> Option<String> {
    makefile_version(&fs::read_to_string(dir.join("Makefile")).ok()?)
}

fn makefile_version(makefile: &str) -> Option<String> {
    let value = |name: &str| {
        makefile.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let (version, patchlevel) = (value("VERSION")?, value("PATCHLEVEL")?);
    let sublevel = value("SUBLEVEL").unwrap_or_else(|| "0".to_owned());
    let extra = value("EXTRAVERSION").unwrap_or_default();
    Some(format!("{version}.{patchlevel}.{sublevel}{extra}"))
}

/// Get the source that is `known` only by name, or Debian's, and unpack it.
pub fn fetch(known: Option<Source>, cache: &Path) -> Result<Source> {
    match known {
        Some(mut source) => {
            let tarball = source
                .tarball
                .clone()
                .context("a source that is neither here nor a tarball")?;
            let mut command = Command::new("tar");
            command.arg("-xvf").arg(&tarball);
            unpack(command, &source.dir, cache).map_err(|e| {
                if e.is::<error::Failure>() {
                    return e;
                }
                error::usage(format!(
                    "--kernel-source {}: this is no tarball that can be unpacked ({e:#})",
                    tarball.display()
                ))
            })?;
            match check_tree(&source.dir, &tarball) {
                Ok(version) => source.version = version,
                Err(error) => {
                    fs::remove_dir_all(&source.dir)?;
                    return Err(error);
                }
            }
            Ok(source)
        }
        None => debian(cache),
    }
}

fn debian(cache: &Path) -> Result<Source> {
    let apt = Apt::new(cache)?;
    apt.update()?;
    let (version, size) = apt.candidate()?;
    need_space(cache, size + SPACE)?;
    let deb = apt.download(&version, size)?;
    // `~` and `+` of Debian's versions are not for make.
    let plain: String = version
        .chars()
        .map(|c| if "~+:".contains(c) { '-' } else { c })
        .collect();
    let dir = cache.join("source").join(format!("{PACKAGE}_{plain}"));
    let mut command = Command::new("bash");
    command
        .args([
            "-c",
            r#"set -euo pipefail; dpkg-deb --fsys-tarfile "$1" | tar -xO "./usr/src/$2.tar.xz" | tar -xJv"#,
            "unpack",
        ])
        .arg(&deb)
        .arg(PACKAGE);
    unpack(command, &dir, cache)?;
    // The package is not needed again; its source is.
    fs::remove_dir_all(&apt.dir).with_context(|| format!("removing {}", apt.dir.display()))?;
    Source::packaged(&dir).context("the package holds no kernel source")
}

/// Run `command`, which unpacks one folder where it is started, and put that folder at `dir`.
fn unpack(mut command: Command, dir: &Path, cache: &Path) -> Result<()> {
    let scratch_root = cache.join("tmp");
    create(&scratch_root)?;
    let scratch = tempfile::Builder::new()
        .prefix("unpack-")
        .tempdir_in(&scratch_root)
        .context("creating a folder to unpack in")?;
    let log = scratch_root.join("unpack.log");
    let mut progress = Progress::new("unpack the source", Unit::Files, FILES, 0);
    let (mut complaint, mut no_space_left) = (String::new(), false);
    let status = process::logged(command.current_dir(scratch.path()), &log, None, |line| {
        progress.step();
        // The first complaint says why; with it come those of whoever stands behind in the pipe.
        let complains = ["tar: ", "xz: ", "dpkg-deb: "].iter();
        if complaint.is_empty() && complains.clone().any(|who| line.starts_with(who)) {
            complaint = line.to_owned();
        }
        no_space_left |= line.contains("No space left on device");
    })?;
    if !status.success() {
        if no_space_left {
            // The room is wanted back before anybody is told how much there is.
            drop(scratch);
            return Err(no_space(cache, SPACE));
        }
        anyhow::bail!("{complaint}");
    }
    progress.finish();
    // A tarball has one folder at its top.
    let mut tops = fs::read_dir(scratch.path())
        .context("reading what was unpacked")?
        .collect::<Result<Vec<_>, _>>()
        .context("reading what was unpacked")?;
    let (Some(top), true) = (tops.pop(), tops.is_empty()) else {
        anyhow::bail!("it does not hold exactly one folder");
    };
    create(dir.parent().context("a source without a parent folder")?)?;
    fs::rename(top.path(), dir).with_context(|| format!("moving the source to {}", dir.display()))
}

/// An apt of our own: the system's configuration (proxies), but none of its lists or sources.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn new(cache: &Path) -> Result<Apt> {
        let keyring = KEYRINGS
            .iter()
            .find(|path| Path::new(path).is_file())
            .ok_or_else(|| {
                error::host("Debian's keys are missing: install the package debian-archive-keyring")
            })?;
        let apt = Apt {
            dir: cache.join("apt"),
        };
        for sub in ["lists/partial", "cache/archives/partial", "download"] {
            create(&apt.dir.join(sub))?;
        }
        let mirror = mirror()?;
        fs::write(
            apt.dir.join("sources.list"),
            format!("deb [signed-by={keyring} arch=amd64] {mirror} {SUITE} main\n"),
        )
        .context("writing the private sources.list")?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").env_remove("APT_CONFIG");
        for option in options(&self.dir) {
            command.arg("-o").arg(option);
        }
        command
    }

    fn update(&self) -> Result<()> {
        eprintln!("reading {SUITE} of {}", mirror_name(&self.dir));
        let log = self.dir.join("update.log");
        let mut command = self.command("apt-get");
        command.args(["-q", "--error-on=any", "update"]);
        let status = process::logged(&mut command, &log, None, |_| {})?;
        if status.success() {
            return Ok(());
        }
        Err(apt_error(&log, &self.dir))
    }

    /// The package's version, and its archive's size.
    fn candidate(&self) -> Result<(String, u64)> {
        let text = process::capture(self.command("apt-cache").args([
            "show",
            "--no-all-versions",
            PACKAGE,
        ]))
        .map_err(|_| {
            error::host(format!(
                "{SUITE} has no {PACKAGE} (any more); name a source with --kernel-source"
            ))
        })?;
        parse_show(&text).context("apt-cache show says neither version nor size")
    }

    fn download(&self, version: &str, size: u64) -> Result<PathBuf> {
        let dir = self.dir.join("download");
        let log = self.dir.join("download.log");
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = self.command("apt-get");
        command
            .args(["-q", "download", &format!("{PACKAGE}={version}")])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("the download's log")?)
            .stderr(file);
        let have = |dir: &Path| -> u64 {
            [dir.to_path_buf(), dir.join("partial")]
                .iter()
                .filter_map(|d| fs::read_dir(d).ok())
                .flatten()
                .filter_map(|e| e.ok()?.metadata().ok())
                .filter(|m| m.is_file())
                .map(|m| m.len())
                .sum()
        };
        let mut progress = Progress::new(
            &format!("fetch {PACKAGE} {version}"),
            Unit::Bytes,
            size,
            have(&dir).min(size),
        );
        let status = Running::spawn(&mut command)?
            .wait_meanwhile(None, || progress.set(have(&dir).min(size)))?;
        if !status.success() {
            drop(progress);
            return Err(apt_error(&log, &self.dir));
        }
        progress.finish();
        fs::read_dir(&dir)
            .context("reading the download folder")?
            .filter_map(|e| e.ok().map(|e| e.path()))
            .find(|p| p.extension().is_some_and(|e| e == "deb"))
            .context("apt-get says it has fetched the package, and it is not there")
    }
}

/// The options that make apt private, and strict.
fn options(dir: &Path) -> Vec<String> {
    let dir = dir.display();
    let mut options = vec![
        format!("Dir::State={dir}"),
        format!("Dir::State::Lists={dir}/lists"),
        // Nothing counts as installed.
        "Dir::State::status=/dev/null".to_owned(),
        format!("Dir::Cache={dir}/cache"),
        format!("Dir::Etc::SourceList={dir}/sources.list"),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        "Dir::Etc::Preferences=/dev/null".to_owned(),
        "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
        "APT::Architecture=amd64".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        "APT::Default-Release=".to_owned(),
        "APT::Get::AllowUnauthenticated=false".to_owned(),
        "Acquire::AllowInsecureRepositories=false".to_owned(),
        "Acquire::AllowWeakRepositories=false".to_owned(),
        "Acquire::AllowDowngradeToInsecureRepositories=false".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::Retries=3".to_owned(),
        "Acquire::http::Timeout=30".to_owned(),
    ];
    // Root's apt would give its children to a user who cannot enter root's home.
    if nix::unistd::geteuid().is_root() {
        options.push("APT::Sandbox::User=root".to_owned());
    }
    options
}

/// The Debian mirror that this machine uses already.
fn mirror() -> Result<String> {
    let format = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(CREATED_BY)|$(REPO_URI)";
    let targets = |more: &[&str]| {
        process::capture(
            Command::new("apt-get")
                .args(["indextargets", "--format", format])
                .args(more)
                .env("LC_ALL", "C"),
        )
    };
    // Before the first `apt-get update` only the addresses are known.
    let text = targets(&[])? + &targets(&["--no-release-info"])?;
    choose_mirror(&text).ok_or_else(|| {
        error::host(
            "apt knows no Debian mirror (component main) on this machine: add one to its sources, or name a source with --kernel-source",
        )
    })
}

fn choose_mirror(targets: &str) -> Option<String> {
    let find = |wanted: &dyn Fn(&[&str]) -> bool| {
        targets.lines().find_map(|line| {
            let fields: Vec<_> = line.split('|').collect();
            let (uri, rest) = fields.split_last()?;
            let plain = rest.get(2..) == Some(&["main", "Packages"]);
            (plain && wanted(&fields)).then(|| (*uri).to_owned())
        })
    };
    // Where nobody has said who they are, an address in Debian's manner will do: it is the
    // signature that is trusted.
    find(&|fields| fields.starts_with(&["Debian", "Debian"])).or_else(|| {
        find(&|fields| {
            let unnamed = fields[0].is_empty() || fields[0].starts_with('$');
            unnamed && fields[4].trim_end_matches('/').ends_with("/debian")
        })
    })
}

/// The mirror's address as it stands in our sources.list, for messages.
fn mirror_name(dir: &Path) -> String {
    fs::read_to_string(dir.join("sources.list"))
        .ok()
        .and_then(|text| Some(text.split("] ").nth(1)?.split(' ').next()?.to_owned()))
        .unwrap_or_else(|| "the Debian mirror".to_owned())
}

/// Version and size out of `apt-cache show`.
fn parse_show(text: &str) -> Option<(String, u64)> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    Some((field("Version")?.to_owned(), field("Size")?.parse().ok()?))
}

/// What apt's log says, as one sentence that says what to do.
fn apt_error(log: &Path, dir: &Path) -> anyhow::Error {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mirror = mirror_name(dir);
    let why = explain(&text);
    let quote = quote(&text);
    // Nothing of a repository that failed is kept, lest a later run trusts it; what of the package
    // is here already is checked by apt when it goes on.
    for sub in ["lists", "cache"] {
        let _ = fs::remove_dir_all(dir.join(sub));
    }
    if fs::remove_dir(dir.join("download")).is_ok() {
        let _ = fs::remove_dir_all(dir);
    }
    match why {
        Trouble::Space => no_space(dir, 1 << 30),
        Trouble::Signature => error::host(format!(
            "what {mirror} sent is not signed by Debian, or not what was signed: nothing of it was used; try again later or from another mirror ({quote})"
        )),
        Trouble::Network => error::host(format!(
            "{mirror} cannot be reached: check the network (and http_proxy), or name a source with --kernel-source ({quote})"
        )),
        Trouble::Missing => error::host(format!(
            "{mirror} has no suite {SUITE} with {PACKAGE}: point apt at a full Debian mirror, or name a source with --kernel-source ({quote})"
        )),
    }
}

/// The reason that apt gave, in its words.
fn quote(log: &str) -> String {
    let mut lines = log.lines();
    let reason = lines
        .by_ref()
        .find(|line| line.starts_with("Err:"))
        .and_then(|_| lines.find(|line| line.starts_with("  ")))
        .or_else(|| log.lines().find(|line| line.starts_with("E: ")));
    reason
        .unwrap_or("apt-get gave no reason")
        .trim_start_matches("E: ")
        .trim()
        .to_owned()
}

#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Space,
    Signature,
    Network,
    Missing,
}

fn explain(log: &str) -> Trouble {
    let says = |pattern: &str| Regex::new(pattern).is_ok_and(|r| r.is_match(log));
    if says("No space left|don't have enough free space|Disk quota") {
        Trouble::Space
    } else if says("NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|invalid signature|not signed|isn't signed|no longer signed|Clearsigned|Hash Sum mismatch|verification failed|Missing key|unexpected size") {
        Trouble::Signature
    } else if says("does not have a Release file|404  ?Not Found|Unable to locate package|No packages found") {
        Trouble::Missing
    } else {
        Trouble::Network
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_the_makefile() {
        let text = "# SPDX\nVERSION = 7\nPATCHLEVEL = 2\nSUBLEVEL = 12\nEXTRAVERSION =\nNAME = X\n";
        assert_eq!(makefile_version(text).as_deref(), Some("7.2.12"));
        let text = "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 0\nEXTRAVERSION = -rc1\n";
        assert_eq!(makefile_version(text).as_deref(), Some("7.3.0-rc1"));
        assert_eq!(makefile_version("all:\n\ttrue\n"), None);
    }

    #[test]
    fn the_mirror_is_debians_main() {
        let targets = "Other|Other|main|Packages|http://other.example/apt/\n\
             Debian|Debian-Security|main|Packages|http://mirror.example/debian-security/\n\
             Debian|Debian|contrib|Packages|http://contrib.example/debian/\n\
             Debian|Debian|main|DEP-11|http://dep.example/debian/\n\
             Debian|Debian|main|Packages|http://mirror.example/debian/\n";
        assert_eq!(
            choose_mirror(targets).as_deref(),
            Some("http://mirror.example/debian/")
        );
        assert_eq!(choose_mirror("||main|Packages|http://x.example/\n"), None);
    }

    #[test]
    fn a_machine_without_lists_has_a_mirror_too() {
        for unnamed in ["|", "$(ORIGIN)|$(LABEL)"] {
            let targets = format!(
                "{unnamed}|main|Packages|http://mirror.example/debian-security/\n\
                 {unnamed}|main|Packages|http://mirror.example/debian/\n"
            );
            assert_eq!(
                choose_mirror(&targets).as_deref(),
                Some("http://mirror.example/debian/")
            );
        }
    }

    #[test]
    fn apts_complaints_are_understood() {
        for (log, trouble) in [
            (
                "W: GPG error: x InRelease: NO_PUBKEY 123\nE: The repository 'x' is not signed.",
                Trouble::Signature,
            ),
            (
                "Err:1 x\n  Temporary failure resolving 'x'",
                Trouble::Network,
            ),
            (
                "E: Failed to fetch x  Could not connect to x:80",
                Trouble::Network,
            ),
            (
                "E: The repository 'x' does not have a Release file.",
                Trouble::Missing,
            ),
            (
                "E: Failed to fetch x  Hash Sum mismatch",
                Trouble::Signature,
            ),
            (
                "E: Write error - write (28: No space left on device)",
                Trouble::Space,
            ),
        ] {
            assert_eq!(explain(log), trouble, "{log}");
        }
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

    #[test]
    fn apt_show_gives_version_and_size() {
        let text = "Package: linux-source-7.2\nVersion: 7.2.12-1~bpo13+1\nInstalled-Size: 5\nSize: 158000000\n";
        assert_eq!(
            parse_show(text),
            Some(("7.2.12-1~bpo13+1".to_owned(), 158_000_000))
        );
    }

    #[test]
    fn the_newest_fetched_source_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        for (name, sublevel) in [("7.2.9-1", 9), ("7.2.12-1-bpo13-1", 12)] {
            let tree = dir.path().join(format!("{PACKAGE}_{name}"));
            fs::create_dir(&tree).unwrap();
            fs::write(
                tree.join("Makefile"),
                format!("VERSION = 7\nPATCHLEVEL = 2\nSUBLEVEL = {sublevel}\n"),
            )
            .unwrap();
        }
        let newest = Source::newest(dir.path()).unwrap();
        assert_eq!(newest.version, "7.2.12");
    }

    #[test]
    fn a_folder_that_is_no_kernel_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Source::named(dir.path(), dir.path()).unwrap_err();
        assert_eq!(error::code(&error), 2);
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Debian's own kernel images, unmodified: only what modules in Rust need beside the headers package, the kernel's Rust
//! side, is built here from the matching source, by the compilers that built the image.
//!
//! That it came out the same is known before anything is loaded: rustc puts a hash of each crate into the names of its
//! symbols, and the image's `Module.symvers` has those names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use super::apt;
use super::create;
use super::need_space;
use super::source;
use super::tree;
use super::write_whole;
use super::Kernel;
use crate::error;
use crate::host;
use crate::oops::pattern;
use crate::paths;
use crate::process;
use crate::progress::Progress;
use crate::progress::Unit;

/// The images that this repository is tested with, the preferred one first.
const TESTED: &str = "scripts/kernels";

/// In a release's folder: its packages are unpacked, and where their source is.
const FETCHED: &str = "fetched";

/// What is prepared takes: seen 1.2 GiB beside the source, and some room.
const SPACE: u64 = 3 << 29;

/// Lines of talk of `make prepare modules_prepare`, for the bar.
const STEPS: u64 = 290;

/// Drivers of hardware that no guest has: neither unpacked nor indexed.
const NOT_FOR_GUESTS: [&str; 12] = [
    "sound",
    "drivers/gpu",
    "drivers/media",
    "drivers/infiniband",
    "drivers/iio",
    "drivers/hid",
    "drivers/scsi",
    "drivers/staging",
    "drivers/usb",
    "drivers/mtd",
    "drivers/net/ethernet",
    "drivers/input",
];

/// The image that was named, or the first tested one; if it is prepared already.
pub fn prepared(release: Option<&str>) -> Result<Option<Kernel>> {
    for release in wanted(release)? {
        let dir = folder(&release)?;
        if dir.join("stamp").is_file() {
            return finish(&release, &dir).map(Some);
        }
    }
    Ok(None)
}

/// The same, prepared first where that is missing.
pub fn ensure(release: Option<&str>) -> Result<Kernel> {
    if let Some(kernel) = prepared(release)? {
        return Ok(kernel);
    }
    let cache = paths::cache()?;
    create(&cache)?;
    let explain = |error| super::explain_space(error, &cache, SPACE);
    let release = super::fetching(&cache, || fetch(release, &cache)).map_err(explain)?;
    let dir = folder(&release)?;
    let _lock = super::building(&dir)?;
    if !dir.join("stamp").is_file() {
        prepare(&release, &dir).map_err(explain)?;
    }
    finish(&release, &dir)
}

fn folder(release: &str) -> Result<std::path::PathBuf> {
    // `+` of Debian's releases is not for make.
    Ok(paths::cache()?
        .join("kernel")
        .join(release.replace('+', "-")))
}

fn wanted(named: Option<&str>) -> Result<Vec<String>> {
    match named {
        Some(release) => Ok(vec![release.to_owned()]),
        None => tested(),
    }
}

/// The releases of [`TESTED`].
pub fn tested() -> Result<Vec<String>> {
    let path = paths::root().join(TESTED);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect())
}

/// Which of the suites' images to take; what is not a tested one is said.
fn choose(named: Option<&str>) -> Result<String> {
    let tested = tested()?;
    if let Some(named) = named {
        if !tested.iter().any(|t| t == named) {
            eprintln!(
                "xtask: {named} is not one of the kernels that this was tested with: {}",
                tested.join(", ")
            );
        }
        return Ok(named.to_owned());
    }
    let mut there: Vec<String> = apt::names("linux-headers-")
        .iter()
        .filter_map(|name| name.strip_prefix("linux-headers-"))
        .filter(|release| {
            release.ends_with("-amd64") && !release.contains("-rt-") && !release.contains("-cloud-")
        })
        .map(str::to_owned)
        .collect();
    if let Some(first) = tested.iter().find(|t| there.contains(t)) {
        if first != &tested[0] {
            eprintln!(
                "xtask: {} has left Debian's suite; taking {first}",
                tested[0]
            );
        }
        return Ok(first.clone());
    }
    there.sort_by_key(|release| numbers(release));
    let newest = there
        .into_iter()
        .filter(|release| numbers(release) > numbers(&tested[0]))
        .find(|release| packages(release).is_ok())
        .ok_or_else(|| error::host("Debian's suite has no kernel any more that this was tested with, nor a newer one: use --kernel own"))?;
    eprintln!(
        "xtask: {} has left Debian's suite; taking {newest}, which was not tested",
        tested[0]
    );
    Ok(newest)
}

/// A release in the order of its numbers.
pub fn numbers(release: &str) -> Vec<u32> {
    release
        .split(|c: char| !c.is_ascii_digit())
        .take(3)
        .filter_map(|n| n.parse().ok())
        .collect()
}

/// Headers, image and modules of a release, then the source that they were built from.
fn packages(release: &str) -> Result<[apt::Package; 4]> {
    let lacks = |what: &str| {
        error::host(format!(
            "Debian's suites have no {what}, which modules for {release} need: take a kernel of `apt-cache pkgnames linux-headers-` in scripts/enter whose source is there too"
        ))
    };
    let find = |name: String, version: Option<&str>| {
        apt::find(&name, version)
            .ok_or_else(|| lacks(&version.map_or(name.clone(), |v| format!("{name} {v}"))))
    };
    let headers = find(format!("linux-headers-{release}"), None)?;
    let version = Some(headers.version.as_str());
    let series: Vec<&str> = release.split('.').take(2).collect();
    let source = find(format!("linux-source-{}", series.join(".")), version)?;
    let modules = find(format!("linux-modules-{release}"), version)?;
    // Signed images may carry another version than what they were made of.
    let binary = find(format!("linux-binary-{release}"), None)?;
    Ok([headers, binary, modules, source])
}

/// Have the packages of the image that was named, or of the first tested one, unpacked in its folder. Which one it is.
fn fetch(named: Option<&str>, cache: &Path) -> Result<String> {
    for release in wanted(named)? {
        if folder(&release)?.join(FETCHED).is_file() {
            return Ok(release);
        }
    }
    need_space(cache, SPACE + source::SPACE)?;
    apt::update(&cache.join("tmp"))?;
    let release = choose(named)?;
    let dir = folder(&release)?;
    let [headers, binary, modules, source] = packages(&release)?;
    let source_dir = source::folder(&source)?;
    let mut wanted = vec![headers, binary, modules];
    let with_source = !source_dir.join("Makefile").is_file();
    if with_source {
        wanted.push(source);
    }
    let debs = dir.join("debs");
    let files = apt::download(&wanted, &debs)?;
    let image = dir.join("image");
    create(&image)?;
    for deb in &files[..3] {
        unpack(deb, &image)?;
    }
    if with_source {
        source::unpack_package(&files[3], &source_dir)?;
    }
    // Modules find their dependencies; what the package has no list of is no matter.
    let lib = image.join("lib");
    if !lib.exists() {
        std::os::unix::fs::symlink("usr/lib", &lib).context("linking lib")?;
    }
    process::capture(Command::new("depmod").arg("-b").arg(&image).arg(&release))?;
    let _ = fs::remove_dir_all(&debs);
    write_whole(&dir.join(FETCHED), &source_dir.to_string_lossy())?;
    Ok(release)
}

/// Build the Rust side of what was fetched; the stamp comes last.
fn prepare(release: &str, dir: &Path) -> Result<()> {
    let source_dir = tree::read(&dir.join(FETCHED))?;
    let image = dir.join("image");
    let given = image
        .join("usr/src")
        .join(format!("linux-headers-{release}"));
    let build = dir.join("build");
    create(&build)?;
    fs::copy(given.join(".config"), build.join(".config"))
        .context("copying the image's .config")?;
    let mut progress = Progress::new("build the kernel's Rust side", Unit::Steps, STEPS, 0);
    let log = dir.join("prepare.log");
    let config = fs::read_to_string(build.join(".config")).context("reading .config")?;
    for target in ["prepare", "modules_prepare"] {
        let mut command = super::make(
            &build,
            Some(Path::new(&source_dir)),
            &make_args(&config, release),
        );
        command.arg(format!("-j{}", host::jobs())).arg(target);
        let what = format!("preparing {release}");
        super::long_make(&mut command, &log, &mut progress, &what)?;
        if target == "prepare" {
            fs::copy(given.join("Module.symvers"), build.join("Module.symvers"))
                .context("copying the image's Module.symvers")?;
        }
    }
    progress.finish();
    same_crates(release, &build)?;
    write_whole(&dir.join("stamp"), &source_dir)
}

/// What `make` is told so that all comes out as it was for the image.
fn make_args(config: &str, release: &str) -> Vec<String> {
    let compiler = super::config::parse(config)
        .get("CC_VERSION_TEXT")
        .and_then(|text| text.trim_matches('"').split(' ').next().map(str::to_owned))
        .unwrap_or_else(|| "gcc".to_owned());
    vec![format!("CC={compiler}"), format!("KERNELRELEASE={release}")]
}

fn unpack(deb: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("bash");
    command.args([
        "-c",
        r#"set -euo pipefail; deb=$1 to=$2; shift 2; dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$to" --wildcards "$@""#,
        "unpack",
    ]);
    command.arg(deb).arg(to);
    for part in NOT_FOR_GUESTS {
        command.arg(format!("--exclude=*/kernel/{part}"));
    }
    process::capture(&mut command).map(drop)
}

/// Do the crates that were built here have the names that the image's have?
fn same_crates(release: &str, build: &Path) -> Result<()> {
    let theirs = crates(
        &fs::read_to_string(build.join("Module.symvers")).context("reading Module.symvers")?,
    );
    let mut ours = BTreeSet::new();
    for object in ["rust/core.o", "rust/kernel.o"] {
        ours.extend(crates(&process::capture(
            Command::new("nm").arg(build.join(object)),
        )?));
    }
    let missing: Vec<_> = theirs.difference(&ours).cloned().collect();
    if theirs.is_empty() || !missing.is_empty() {
        bail!(error::host(format!(
            "the Rust side built here is not that of the image {release} (its crates {} came out under other names): modules would not load; is the build root's rustc the one of that image?",
            missing.join(", ")
        )));
    }
    Ok(())
}

/// `core` and `kernel` as they stand in mangled names, with their hashes.
fn crates(text: &str) -> BTreeSet<String> {
    pattern(r"Cs[0-9A-Za-z]+_(4core|6kernel)")
        .find_iter(text)
        .map(|m| m.as_str().to_owned())
        .collect()
}

/// A prepared image as a [`Kernel`].
fn finish(release: &str, dir: &Path) -> Result<Kernel> {
    let build = dir.join("build");
    let image = dir.join("image");
    let modules = image.join("usr/lib/modules").join(release);
    // The guest boots on the build root, and looks for its modules there.
    let place = Path::new("/usr/lib/modules").join(release);
    if fs::read_link(&place).ok().as_deref() != Some(&modules) {
        create(Path::new("/usr/lib/modules"))?;
        let aside = place.with_extension(format!("new{}", std::process::id()));
        std::os::unix::fs::symlink(&modules, &aside)
            .and_then(|()| fs::rename(&aside, &place))
            .with_context(|| format!("linking {}", place.display()))?;
    }
    let config = tree::read(&build.join(".config"))?;
    Ok(Kernel {
        key: release.replace('+', "-"),
        release: release.to_owned(),
        source: tree::read(&dir.join("stamp"))?.into(),
        image: modules.join("vmlinuz"),
        vmlinux: None,
        make_args: make_args(&config, release),
        build,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_found_in_mangled_names() {
        let text =
            "0x0\t_RNvNtCs2lKf6AS60Zg_4core3fmt\tvmlinux\n0x0\t_RNvCsAbC_6kernel1x\tvmlinux\n";
        let names: Vec<_> = crates(text).into_iter().collect();
        assert_eq!(names, ["Cs2lKf6AS60Zg_4core", "CsAbC_6kernel"]);
    }

    #[test]
    fn releases_have_an_order() {
        assert!(numbers("7.3.4+deb13-amd64") > numbers("7.2.12+deb13-amd64"));
        assert!(numbers("7.2.12+deb13-amd64") > numbers("7.2.9+deb13-amd64"));
    }

    #[test]
    fn make_gets_the_compiler_of_the_image() {
        let config =
            "CONFIG_CC_VERSION_TEXT=\"x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0\"\n";
        assert_eq!(make_args(config, "7.2")[0], "CC=x86_64-linux-gnu-gcc-14");
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Debian's own kernel images, unmodified: only what modules in Rust need beside the headers package, the kernel's Rust
//! side, is built here from the matching source, by the compilers that built the image.
//!
//! That it came out the same is known before anything is loaded: the image's `Module.symvers` has the names of all functions
//! that modules may link to. In each are a hash, which is of the compiler and the crate's name, and the types it was made for.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use fs_err as fs;

use super::apt;
use super::source;
use super::Kernel;
use super::BUILD_SPACE;
use crate::error;
use crate::oops::pattern;
use crate::paths;
use crate::process;
use crate::progress::Progress;
use crate::progress::Unit;

/// The images that this repository is tested with, the preferred one first.
const TESTED: &str = "scripts/kernels";

/// Notes in a release's folder, each with the path of its source: its packages are unpacked; it can be used.
const FETCHED: &str = "fetched";
const STAMP: &str = "stamp";

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
pub fn prepared(named: Option<&str>) -> Result<Option<Kernel>> {
    let noted = noted(named, STAMP)?;
    noted
        .map(|(release, source)| finish(&release, source))
        .transpose()
}

/// The same, prepared first where that is missing.
pub fn ensure(named: Option<&str>) -> Result<Kernel> {
    if let Some(kernel) = prepared(named)? {
        return Ok(kernel);
    }
    super::with_space(|| {
        let (release, source) = super::fetching(|| fetch(named))?;
        let dir = folder(&release)?;
        let _lock = super::building(&dir)?;
        if !dir.join(STAMP).is_file() {
            prepare(&release, &source, &dir)?;
        }
        finish(&release, source)
    })
}

/// Release and source of the image that was named, or of the first tested one; if it was fetched already.
pub fn fetched(named: Option<&str>) -> Result<Option<(String, PathBuf)>> {
    noted(named, FETCHED)
}

/// The first wanted release that has this note in its folder, and the source that the note names.
fn noted(named: Option<&str>, note: &str) -> Result<Option<(String, PathBuf)>> {
    let wanted = match named {
        Some(release) => vec![release.to_owned()],
        None => tested()?,
    };
    for release in wanted {
        if let Ok(source) = fs::read_to_string(folder(&release)?.join(note)) {
            return Ok(Some((release, source.into())));
        }
    }
    Ok(None)
}

fn folder(release: &str) -> Result<PathBuf> {
    Ok(paths::cache()?.join("kernel").join(key(release)))
}

/// `+` of Debian's releases is not for make.
fn key(release: &str) -> String {
    release.replace('+', "-")
}

/// The releases of [`TESTED`].
pub fn tested() -> Result<Vec<String>> {
    let text = fs::read_to_string(paths::root().join(TESTED))?;
    Ok(text
        .lines()
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
    let there = apt::names("linux-headers-");
    let mut newer = there.clone();
    newer.retain(|release| release.ends_with("-amd64") && numbers(release) > numbers(&tested[0]));
    newer.retain(|release| !release.contains("-rt-") && !release.contains("-cloud-"));
    newer.sort_by_key(|release| numbers(release));
    let known = tested.iter().filter(|release| there.contains(release));
    let Some(taken) = known
        .chain(&newer)
        .find(|release| packages(release).is_ok())
    else {
        anyhow::bail!(error::host("Debian's suite has no kernel any more that this was tested with, nor a newer one: name a folder with --kernel"));
    };
    if taken != &tested[0] {
        let untested = match tested.contains(taken) {
            true => "",
            false => ", which was not tested",
        };
        let first = &tested[0];
        eprintln!("xtask: {first} has left Debian's suite; taking {taken}{untested}");
    }
    Ok(taken.clone())
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

/// Have the packages of the image that was named, or of the first tested one, unpacked in its folder: which one it is, and
/// where its source is.
pub fn fetch(named: Option<&str>) -> Result<(String, PathBuf)> {
    if let Some(there) = fetched(named)? {
        return Ok(there);
    }
    super::need_space(BUILD_SPACE + source::SPACE)?;
    apt::update()?;
    let release = choose(named)?;
    let dir = folder(&release)?;
    let [headers, binary, modules, source] = packages(&release)?;
    let source_dir = source::folder(&format!("{}_{}", source.name, source.version))?;
    let with_source = !source_dir.join("Makefile").is_file();
    let source_file = source.file.clone();
    let mut wanted = vec![headers, binary, modules];
    wanted.extend(with_source.then_some(source));
    let debs = dir.join("debs");
    apt::download(&wanted, &debs)?;
    let image = dir.join("image");
    fs::create_dir_all(&image)?;
    for package in &wanted[..3] {
        unpack(&debs.join(&package.file), &image)?;
    }
    if with_source {
        source::unpack_package(&debs.join(source_file), &source_dir)?;
    }
    // Modules find their dependencies; what the package has no list of is no matter.
    let lib = image.join("lib");
    if !lib.exists() {
        symlink("usr/lib", &lib)?;
    }
    process::capture(Command::new("depmod").arg("-b").arg(&image).arg(&release))?;
    let _ = fs::remove_dir_all(&debs);
    paths::write_whole(&dir.join(FETCHED), &source_dir.to_string_lossy())?;
    Ok((release, source_dir))
}

/// Build the Rust side of what was fetched; the stamp comes last.
fn prepare(release: &str, source: &Path, dir: &Path) -> Result<()> {
    let image = dir.join("image");
    let given = image
        .join("usr/src")
        .join(format!("linux-headers-{release}"));
    let build = dir.join("build");
    fs::create_dir_all(&build)?;
    fs::copy(given.join(".config"), build.join(".config"))?;
    let mut progress = Progress::new("build the kernel's Rust side", Unit::Steps, STEPS, 0);
    let log = dir.join("prepare.log");
    let args = make_args(&build, release)?;
    for target in ["prepare", "modules_prepare"] {
        let mut command = super::make(&build, Some(source), &args);
        command.arg(target);
        let what = format!("preparing {release}");
        super::long_make(&mut command, &log, &mut progress, &what)?;
        if target == "prepare" {
            fs::copy(given.join("Module.symvers"), build.join("Module.symvers"))?;
        }
    }
    progress.finish();
    same_names(release, &build)?;
    paths::write_whole(&dir.join(STAMP), &source.to_string_lossy())
}

/// What `make` is told so that all comes out as it was for the image.
fn make_args(build: &Path, release: &str) -> Result<Vec<String>> {
    let config = fs::read_to_string(build.join(".config"))?;
    let compiler = super::own::parse(&config)
        .get("CC_VERSION_TEXT")
        .and_then(|text| text.trim_matches('"').split(' ').next())
        .unwrap_or("gcc");
    let compiler = format!("CC={compiler}");
    Ok(vec![compiler, format!("KERNELRELEASE={release}")])
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

/// Do the functions that were built here have the names that the image's have?
fn same_names(release: &str, build: &Path) -> Result<()> {
    let theirs = names(&fs::read_to_string(build.join("Module.symvers"))?);
    let mut nm = Command::new("nm");
    nm.args(paths::files_in(&build.join("rust"), "o")?);
    let ours = names(&process::capture(&mut nm)?);
    let missing: Vec<_> = theirs.difference(&ours).collect();
    if theirs.is_empty() || !missing.is_empty() {
        anyhow::bail!(error::host(format!(
            "the Rust side built here is not that of the image {release} ({} of its {} functions are not there, such as {}): modules would not load; is the build root's rustc the one of that image?",
            missing.len(),
            theirs.len(),
            missing.first().map_or("", |name| name)
        )));
    }
    Ok(())
}

/// Mangled names.
fn names(text: &str) -> BTreeSet<String> {
    pattern(r"\b_R[A-Z][0-9A-Za-z_]+")
        .find_iter(text)
        .map(|m| m.as_str().to_owned())
        .collect()
}

/// A prepared image as a [`Kernel`].
fn finish(release: &str, source: PathBuf) -> Result<Kernel> {
    let dir = folder(release)?;
    let build = dir.join("build");
    let modules = dir.join("image/usr/lib/modules").join(release);
    // The guest boots on the build root, and looks for its modules there.
    let place = Path::new("/usr/lib/modules").join(release);
    if fs::read_link(&place).ok().as_deref() != Some(&modules) {
        fs::create_dir_all("/usr/lib/modules")?;
        let aside = place.with_extension(format!("new{}", std::process::id()));
        symlink(&modules, &aside)?;
        fs::rename(&aside, &place)?;
    }
    Ok(Kernel {
        key: key(release),
        release: release.to_owned(),
        source,
        image: modules.join("vmlinuz"),
        make_args: make_args(&build, release)?,
        build,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mangled_names_are_found() {
        let text = "0x0\t_RNvNtCs2lKf6AS60Zg_4core3fmt\tvmlinux\n0x0\tCONFIG_RATEEST\tvmlinux\n";
        let found: Vec<_> = names(text).into_iter().collect();
        assert_eq!(found, ["_RNvNtCs2lKf6AS60Zg_4core3fmt"]);
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Modules, through Kbuild: `make -C <kernel> M=<folder> MO=<output>`, so that the checkout stays as
//! it is, then every `.ko` in one place.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use parking_lot::Mutex;
use walkdir::WalkDir;

use crate::catalog;
use crate::catalog::ModuleFolder;
use crate::cli::KernelArgs;
use crate::error;
use crate::error::Failure;
use crate::kernel::Kernel;
use crate::lock::lock;
use crate::oops::pattern;
use crate::packages;
use crate::paths;
use crate::process;
use crate::progress;
use crate::queue;
use crate::queue::Job;

/// Begins the name of the output of a folder that is not ours.
const OWN: &str = "own-";

/// Where the output of everything for `kernel` is.
pub fn output_dir(kernel: &Kernel) -> PathBuf {
    paths::target().join("kbuild").join(&kernel.key)
}

/// Where every `.ko` for `kernel` ends up (`KLP_MODULES_DIR` of the selftests).
pub fn modules_dir(kernel: &Kernel) -> PathBuf {
    output_dir(kernel).join("modules")
}

/// Build the named module folders, all for no name; the answer is every module of theirs, in [`modules_dir`]. Of several, those
/// that refuse this kernel are told and left out.
pub fn build(kernel: &Kernel, names: &[String]) -> Result<Vec<PathBuf>> {
    build_and_tell(kernel, names, |_, _, _| {})
}

/// Build what the folders share, the crate and its bindings; the answer is what `make` is to be told of it.
pub fn prebuilt(kernel: &Kernel) -> Result<String> {
    let output = output_dir(kernel);
    let klp = ModuleFolder {
        name: "klp".to_owned(),
        source: paths::root().join("shared/klp"),
    };
    let folder = output.join(&klp.name);
    fs::create_dir_all(&folder)?;
    let _lock = lock(&folder.join("lock"), "builds the crate")?;
    let made = folder.join("made");
    if !is_fresh(kernel, &klp, &made) {
        let began = SystemTime::now();
        build_folder(kernel, &klp, &output, None)?;
        File::create(&made)?.set_modified(began)?;
    }
    Ok(format!("KLP_PREBUILT={}", folder.display()))
}

/// `cargo xtask build`.
pub fn run(args: &KernelArgs, names: &[String]) -> Result<()> {
    // A wrong name is said before a kernel is built.
    choose(catalog::module_folders()?, names)?;
    let kernel = Kernel::ensure(args)?;
    let built = build_and_tell(&kernel, names, |folder, module, took| {
        let module = module.file_name().unwrap_or_default().to_string_lossy();
        println!("{module}  {folder}  {}", progress::duration(took));
    })?;
    println!("modules: {}", modules_dir(&kernel).display());
    // Of everything at once the suite `preflight` tells; of what a kernel has that was only prepared, nobody can.
    match names.is_empty() || !kernel.image.is_file() {
        true => Ok(()),
        false => packages::look_at_built(args, &kernel, &built),
    }
}

/// The folders that `names` mean, all for no name.
fn choose(all: Vec<ModuleFolder>, names: &[String]) -> Result<Vec<ModuleFolder>> {
    let known: Vec<_> = all.iter().map(|f| f.name.clone()).collect();
    let mut wanted = BTreeSet::new();
    let mut folders = Vec::new();
    for name in names {
        // A folder of modules that is anybody's.
        if let (true, Ok(source)) = (name.contains('/'), fs::canonicalize(name)) {
            let name = source.file_name().unwrap_or_default().to_string_lossy();
            let name = format!("{OWN}{name}");
            folders.push(ModuleFolder { name, source });
            continue;
        }
        // A module's name is as good as its folder's.
        let stem = name.trim_end_matches(".ko").replace('_', "-");
        if !known.contains(&stem) {
            return Err(catalog::unknown("sample or module set", name, &known));
        }
        wanted.insert(stem);
    }
    let is_wanted = |f: &ModuleFolder| names.is_empty() || wanted.contains(&f.name);
    folders.extend(all.into_iter().filter(is_wanted));
    Ok(folders)
}

/// The same; `tell` hears of each folder, its modules and how long it took.
pub fn build_and_tell(
    kernel: &Kernel,
    names: &[String],
    tell: impl Fn(&str, &Path, Duration) + Sync,
) -> Result<Vec<PathBuf>> {
    let folders = choose(catalog::module_folders()?, names)?;
    let output = output_dir(kernel);
    let modules = modules_dir(kernel);
    fs::create_dir_all(&modules)?;
    let _lock = lock(&output.join("lock"), "builds modules")?;
    let prebuilt = prebuilt(kernel)?;

    let built = Mutex::new(BTreeSet::new());
    let job = |folder| {
        let (output, modules, tell, built) = (&output, &modules, &tell, &built);
        let folders = &folders;
        let prebuilt = Some(prebuilt.as_str());
        Job::new(move || {
            let start = Instant::now();
            let files = match build_folder(kernel, folder, output, prebuilt) {
                Err(error) if folders.len() > 1 && error::unfit(&error).is_some() => {
                    eprintln!("{}: {error}", folder.name);
                    return Ok(());
                }
                files => files?,
            };
            for file in files {
                let module = modules.join(file.file_name().unwrap_or_default());
                publish(&file, &module)?;
                tell(&folder.name, &module, start.elapsed());
                let mut built = built.lock();
                built.insert(module);
            }
            Ok(())
        })
    };
    queue::run(
        &folders.iter().map(job).collect::<Vec<_>>(),
        queue::workers(),
    )?;
    let built = built.into_inner();
    if names.is_empty() {
        forget_others(&output, &modules, &built)?;
    }
    Ok(built.into_iter().collect())
}

/// The kernel's own test modules in C, which have the names of ours and so stay in a folder of their own.
pub fn upstream(kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let folder = output_dir(kernel).join("upstream/test_modules");
    // A header package has no tests.
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    paths::files_in(&folder, "ko")
}

/// Is the file `made` newer than the crate's folder and the kernel that it was made for? Asking make takes half a second.
fn is_fresh(kernel: &Kernel, klp: &ModuleFolder, made: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let files = WalkDir::new(&klp.source).into_iter().flatten();
    let of_kernel = ["include/config/auto.conf", "rust/libkernel.rmeta"];
    files
        .map(walkdir::DirEntry::into_path)
        .chain(of_kernel.map(|file| kernel.build.join(file)))
        .all(|path| time(&path).is_some() && time(&path) < time(made))
}

/// What `make` said when it built that folder.
fn log_of(output: &Path, folder: &str) -> PathBuf {
    output.join(format!("{folder}.log"))
}

/// Why the sources that `make` was told to build are not for this kernel, if they say so themselves: by `compile_error!`,
/// a failed `assert!` of a constant, or `$(error)`.
fn refusal(talk: &str) -> Option<String> {
    let why = pattern(r#"not on this kernel: ([^'"\n]+?)(\.  Stop\.|['"].*)?$"#);
    let said = talk.lines().find_map(|line| why.captures(line))?;
    Some(said[1].to_owned())
}

/// Why that folder, built for `kernel` before, has no modules there.
pub fn refused(kernel: &Kernel, folder: &str) -> Option<String> {
    refusal(&paths::read_lossy(&log_of(&output_dir(kernel), folder)))
}

/// Build one folder; gives its modules.
fn build_folder(
    kernel: &Kernel,
    folder: &ModuleFolder,
    output: &Path,
    prebuilt: Option<&str>,
) -> Result<Vec<PathBuf>> {
    let out = output.join(&folder.name);
    fs::create_dir_all(&out)?;
    let log = log_of(output, &folder.name);
    let mut command = kernel.make();
    command.args(make_args(&folder.source, &out)).args(prebuilt);
    let (status, talk) = process::transcript(&mut command, &log)?;
    let talk = worth_showing(&talk);
    if let Some(why) = refusal(&talk) {
        return Err(Failure::Unfit(why).into());
    }
    if !status.success() {
        return Err(Failure::Work(format!(
            "building {} failed; log: {}\n{talk}{}",
            folder.name,
            log.display(),
            hint(&talk)
        ))
        .into());
    }
    if talk.contains("warning") {
        eprintln!("{talk}");
    }
    let order = fs::read_to_string(out.join("modules.order"))?;
    // Modules in a folder of their own stay there.
    let modules = order.lines().filter(|line| !line.contains('/'));
    let built = |module| out.join(module).with_extension("ko");
    Ok(modules.map(built).collect())
}

fn make_args(source: &Path, out: &Path) -> [String; 4] {
    [
        "--no-print-directory".to_owned(),
        format!("M={}", source.display()),
        format!("MO={}", out.display()),
        "modules".to_owned(),
    ]
}

/// What of make's talk is for people: everything but its own steps.
fn worth_showing(lines: &[String]) -> String {
    let step = pattern(r"^  +[A-Z]|^make.*(Entering|Leaving)");
    let lines = lines.iter().map(String::as_str);
    let lines: Vec<&str> = lines.filter(|line| !step.is_match(line)).collect();
    lines.join("\n")
}

/// What to do about an error of modpost's, which names the symbol alone.
fn hint(talk: &str) -> &'static str {
    match talk.contains("] undefined!") {
        true => "\nwhat is undefined the kernel has not, or does not export, and no module can use it: `cargo xtask ask NAME`; what to do instead is in step 4 of book/src/own-patch.md",
        false => "",
    }
}

/// Put the finished `from` at `to`, which a guest may be reading.
fn publish(from: &Path, to: &Path) -> Result<()> {
    let (a, b) = (fs::metadata(from)?, fs::metadata(to));
    if b.is_ok_and(|b| a.len() == b.len() && a.modified().ok() <= b.modified().ok()) {
        return Ok(());
    }
    let aside = to.with_extension("new");
    fs::copy(from, &aside)?;
    Ok(fs::rename(&aside, to)?)
}

/// Remove modules that no folder builds any more; those of somebody's own folders stay.
fn forget_others(output: &Path, modules: &Path, built: &BTreeSet<PathBuf>) -> Result<()> {
    let mut own = BTreeSet::new();
    for entry in fs::read_dir(output)? {
        let entry = entry?;
        let is_own = entry.file_name().to_string_lossy().starts_with(OWN);
        if is_own && entry.path().is_dir() {
            own.extend(paths::files_in(&entry.path(), "ko")?);
        }
    }
    let own: BTreeSet<_> = own.iter().filter_map(|path| path.file_name()).collect();
    for entry in fs::read_dir(modules)? {
        let path = entry?.path();
        if !built.contains(&path) && !path.file_name().is_some_and(|name| own.contains(name)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The command with which Kbuild compiles a module's Rust, as Kbuild itself expands it.
pub fn rustc_command(kernel: &Kernel) -> Result<String> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("Kbuild"), PROBE)?;
    let mut command = kernel.make();
    command
        .args(make_args(dir.path(), dir.path()))
        .arg("--silent");
    let text = process::capture(&mut command)?;
    text.lines()
        .find_map(|line| line.strip_prefix("RUSTC:"))
        .map(str::to_owned)
        .context("Kbuild did not print how it compiles Rust")
}

/// A module folder without a module, whose only target prints how one would be compiled.
const PROBE: &str = "always-y := probe
$(obj)/probe: part-of-module := y
$(obj)/probe: FORCE
\t$(info RUSTC:$(rust_common_cmd))
\t@:
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_chosen_by_any_of_their_names() {
        let folder = |name: &str| ModuleFolder {
            name: name.to_owned(),
            source: name.into(),
        };
        let chosen = |names: &[&str]| -> Result<Vec<String>> {
            let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
            let all = ["selftests", "sysctl-update"].map(folder).to_vec();
            Ok(choose(all, &names)?.into_iter().map(|f| f.name).collect())
        };
        assert_eq!(chosen(&[]).unwrap().len(), 2);
        assert_eq!(chosen(&["sysctl_update.ko"]).unwrap(), ["sysctl-update"]);
        assert_eq!(chosen(&["selftests", "selftests"]).unwrap(), ["selftests"]);
        assert_eq!(chosen(&["./src"]).unwrap(), ["own-src"]);
        let error = chosen(&["selftests", "nope"]).unwrap_err();
        assert!(error.to_string().ends_with("selftests, sysctl-update"));
    }

    #[test]
    fn only_what_people_need_is_shown() {
        let lines = [
            "make[1]: Entering directory '/x'",
            "  RUSTC [M] x.o",
            "error[E0425]: cannot find value `y`",
            "  --> x.rs:1:1",
        ]
        .map(str::to_owned);
        assert_eq!(
            worth_showing(&lines),
            "error[E0425]: cannot find value `y`\n  --> x.rs:1:1"
        );
    }

    #[test]
    fn a_refusal_is_known_however_it_is_said() {
        for talk in [
            "error: not on this kernel: no timers\n --> x.rs:1\n1 | compile_error!(\"not on this kernel: no timers\")",
            "   | ^^^ the evaluated program panicked at 'not on this kernel: no timers', x.rs:1:1",
            "x/Kbuild:5: *** not on this kernel: no timers.  Stop.",
        ] {
            assert_eq!(refusal(talk).as_deref(), Some("no timers"));
        }
        assert_eq!(refusal("error: no"), None);
    }

    #[test]
    fn a_module_that_nobody_builds_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join("modules");
        fs::create_dir_all(&modules).unwrap();
        fs::create_dir_all(dir.path().join("own-x")).unwrap();
        fs::write(dir.path().join("own-x.log"), "").unwrap();
        for name in [
            "modules/old.ko",
            "modules/new.ko",
            "modules/x.ko",
            "own-x/x.ko",
        ] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let built = BTreeSet::from([modules.join("new.ko")]);
        forget_others(dir.path(), &modules, &built).unwrap();
        let exists = ["old.ko", "new.ko", "x.ko"].map(|name| modules.join(name).exists());
        assert_eq!(exists, [false, true, true]);
    }
}

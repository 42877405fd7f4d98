// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Cargo on the kernel-side crates: `check`, `clippy` and `doc` over the files that Kbuild builds,
//! with the flags that Kbuild itself gives rustc, and the same for an editor's rust-analyzer.

use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use serde::Deserialize;
use serde_json::json;
use serde_json::Value;

use crate::cli::KernelArgs;
use crate::error::Failure;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::paths;
use crate::process;

/// Where the kernel crate's own documentation is, for links out of ours.
const KERNEL_DOCS: &str = "https://rust.docs.kernel.org/";

/// `cargo xtask check`.
pub fn check(args: &KernelArgs) -> Result<()> {
    let side = KernelSide::prepare(args)?;
    side.run(&mut side.cargo("check", &[])?)
}

/// `cargo xtask clippy`.
pub fn clippy(args: &KernelArgs) -> Result<()> {
    let side = KernelSide::prepare(args)?;
    let mut command = side.cargo("check", &["-Dwarnings"])?;
    command
        .env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver")
        // The kernel's own clippy.toml.
        .env("CLIPPY_CONF_DIR", &side.kernel.source);
    side.run(&mut command)
}

/// The cargo that runs us: another on PATH may be too old.
pub fn command() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// `cargo xtask doc`: the folder of the pages.
pub fn doc(args: &KernelArgs) -> Result<PathBuf> {
    let side = KernelSide::prepare(args)?;
    let mut flags = side.flags.clone();
    flags.push("-Dwarnings".to_owned());
    for krate in ["kernel", "pin_init", "core"] {
        flags.push(format!("--extern-html-root-url={krate}={KERNEL_DOCS}"));
    }
    let mut command = side.cargo("doc", &[])?;
    command
        .arg("--no-deps")
        .env("CARGO_ENCODED_RUSTDOCFLAGS", encoded(&flags));
    // Named after target.json.
    let folder = side.target_dir().join("target/doc");
    side.run(&mut command).inspect_err(|_| {
        // rustdoc refuses files that it has half written, so nothing is left of them.
        let _ = fs::remove_dir_all(&folder);
    })?;
    Ok(folder)
}

/// `cargo xtask rust-analyzer`.
pub fn rust_analyzer(args: &KernelArgs) -> Result<()> {
    let side = KernelSide::prepare(args)?;
    let project = kernel_project(&side.kernel)?;
    let crates = side.crates()?;
    let project = with_crates(project, &crates, &kbuild::output_dir(&side.kernel))?;
    let file = paths::root().join("rust-project.json");
    paths::write_whole(&file, &seen_from_outside(&project)?)?;
    println!(
        "{}: restart rust-analyzer in your editor, whose rust-analyzer.server.path is scripts/rust-analyzer",
        file.display()
    );
    Ok(())
}

/// The editor runs on the host, where the build root's sources are in the cache folder, and so they are for the
/// rust-analyzer in the build root.
fn seen_from_outside(project: &Value) -> Result<String> {
    let text = serde_json::to_string_pretty(project)?;
    let usr = paths::cache()?.join("root/usr");
    match usr.is_dir() {
        true => Ok(text.replace("\"/usr/", &format!("\"{}/", usr.display()))),
        false => Ok(text),
    }
}

/// What all of Cargo's runs have in common.
struct KernelSide {
    kernel: Kernel,
    flags: Vec<String>,
}

/// A package of the workspace, as `cargo metadata` tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Package {
    pub name: String,
    pub description: Option<String>,
    pub manifest_path: PathBuf,
    #[serde(default)]
    pub metadata: Value,
    #[serde(default)]
    targets: Value,
}

impl Package {
    pub fn dir(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}

/// The packages of the workspace.
pub fn packages() -> Result<Vec<Package>> {
    let mut metadata = command();
    metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
    let text = process::capture(metadata.current_dir(paths::root()))?;
    let mut workspace: Value = serde_json::from_str(&text)?;
    serde_json::from_value(workspace["packages"].take())
        .context("reading what cargo says of the workspace")
}

impl KernelSide {
    fn prepare(args: &KernelArgs) -> Result<KernelSide> {
        let kernel = Kernel::ensure(args)?;
        // Kbuild makes the bindings that the crates include.
        kbuild::build(&kernel, &[])?;
        let flags = for_cargo(&kbuild::rustc_command(&kernel)?)?;
        Ok(KernelSide { kernel, flags })
    }

    fn target_dir(&self) -> PathBuf {
        paths::target().join("kernel-side").join(&self.kernel.key)
    }

    /// Every member of the workspace that Kbuild builds too: whatever stands below neither `scripts/` nor `target/`.
    fn crates(&self) -> Result<Vec<Package>> {
        let host = paths::root().join("scripts");
        let mut found = packages()?;
        found.retain(|package| !package.manifest_path.starts_with(&host));
        // Whoever is used stands before its users.
        found.sort_by_key(|p| (p.name != "klp", p.name.clone()));
        Ok(found)
    }

    /// `cargo <verb>` for all of them.
    fn cargo(&self, verb: &str, more_flags: &[&str]) -> Result<Command> {
        let mut command = command();
        command
            .args([verb, "--target"])
            .arg(self.kernel.build.join("scripts/target.json"))
            .arg("--target-dir")
            .arg(self.target_dir())
            .current_dir(paths::root());
        // A sample has no item for others, so rustdoc would show none, and take its time.
        let crates = self.crates()?.into_iter();
        for package in crates.filter(|package| verb != "doc" || package.name == "klp") {
            command.args(["--package", &package.name]);
        }
        let mut flags = self.flags.clone();
        flags.extend(more_flags.iter().map(|f| (*f).to_owned()));
        command
            .env("CARGO_ENCODED_RUSTFLAGS", encoded(&flags))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("OBJTREE", &self.kernel.build)
            .env("RUST_MODFILE", "check")
            .env("KLP_KBUILD", kbuild::output_dir(&self.kernel))
            .env_remove("RUSTFLAGS")
            .env_remove("RUSTDOCFLAGS")
            .env_remove("LD_LIBRARY_PATH");
        Ok(command)
    }

    fn run(&self, command: &mut Command) -> Result<()> {
        if process::status(command)?.success() {
            return Ok(());
        }
        // Cargo has said why.
        Err(Failure::Work("the kernel-side crates have errors (above)".to_owned()).into())
    }
}

/// Cargo's way to pass flags that may contain blanks.
fn encoded(flags: &[String]) -> String {
    flags.join("\x1f")
}

/// Out of the command with which Kbuild compiles a module, the flags that Cargo does not bring.
fn for_cargo(command: &str) -> Result<Vec<String>> {
    let mut words = shlex::split(command)
        .unwrap_or_default()
        .into_iter()
        // The environment, then rustc itself.
        .skip_while(|word| !word.starts_with('-'));
    let mut flags = Vec::new();
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or_default();
        match name {
            "--edition" | "--target" | "--emit" | "--out-dir" | "--crate-type" | "--crate-name" => {
                if !word.contains('=') {
                    words.next();
                }
            }
            // Cargo asks for it in its own way.
            "-Zbinary_dep_depinfo" => {}
            _ => flags.push(word),
        }
    }
    if !flags.iter().any(|f| f == "--sysroot=/dev/null") {
        anyhow::bail!("Kbuild compiles modules in a way that is new to this tool: {command}");
    }
    // Kbuild does not declare the names of its options, and Cargo asks for that.
    flags.push("-Aunexpected_cfgs".to_owned());
    Ok(flags)
}

/// The kernel's crates, as the kernel's own generator describes them to rust-analyzer.
fn kernel_project(kernel: &Kernel) -> Result<Value> {
    // An empty module folder: without one the generator lists every driver in Rust too.
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("Kbuild"), "")?;
    let mut command = kernel.make();
    command
        .arg("--silent")
        .arg(format!("M={}", dir.path().display()))
        .arg("rust-analyzer");
    process::capture(&mut command)?;
    let text = fs::read_to_string(dir.path().join("rust-project.json"))?;
    serde_json::from_str(&text).context("reading rust-project.json")
}

/// `project` with our own crates behind the kernel's.
fn with_crates(mut project: Value, packages: &[Package], output: &Path) -> Result<Value> {
    let crates = project["crates"]
        .as_array_mut()
        .context("rust-project.json has no crates")?;
    let index = |crates: &[Value], name: &str| {
        let place = crates.iter().position(|c| c["display_name"] == name);
        place.with_context(|| format!("the kernel's rust-project.json has no crate {name}"))
    };
    let mut deps = Vec::new();
    for name in ["core", "kernel", "pin_init", "zerocopy", "zerocopy_derive"] {
        deps.push(json!({"crate": index(crates, name)?, "name": name}));
    }
    let kernel = index(crates, "kernel")?;
    let mut cfg = crates[kernel]["cfg"].clone();
    if let Some(cfg) = cfg.as_array_mut() {
        cfg.push(json!("MODULE"));
    }
    let objtree = crates[kernel]["env"]["OBJTREE"].clone();
    for package in packages {
        let objects = output.join(&package.name);
        let mut deps = deps.clone();
        if package.name != "klp" {
            deps.push(json!({"crate": index(crates, "klp")?, "name": "klp"}));
        }
        crates.push(json!({
            "display_name": package.name.replace('-', "_"),
            "root_module": package.targets[0]["src_path"],
            "is_workspace_member": true,
            "deps": deps,
            "cfg": cfg,
            "edition": "2021",
            "env": {
                "KLP_OBJ": objects,
                "OBJTREE": objtree,
                "RUST_MODFILE": package.name,
            },
            "source": {
                "include_dirs": [package.dir(), objects],
                "exclude_dirs": [],
            },
        }));
    }
    Ok(project)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_crates_stand_behind_the_kernels() {
        let names = ["core", "kernel", "pin_init", "zerocopy", "zerocopy_derive"];
        let crates: Vec<_> = names
            .iter()
            .map(|n| json!({"display_name": n, "cfg": ["X"], "env": {"OBJTREE": "/b"}}))
            .collect();
        let package = |name: &str| Package {
            name: name.to_owned(),
            description: None,
            manifest_path: PathBuf::from("/d").join(name).join("Cargo.toml"),
            metadata: Value::Null,
            targets: Value::Null,
        };
        let project = with_crates(
            json!({ "crates": crates }),
            &[package("klp"), package("a-b")],
            Path::new("/out"),
        )
        .unwrap();
        let sample = &project["crates"][6];
        assert_eq!(sample["display_name"], "a_b");
        assert_eq!(sample["deps"][5], json!({"crate": 5, "name": "klp"}));
        assert_eq!(sample["cfg"], json!(["X", "MODULE"]));
        assert_eq!(sample["env"]["KLP_OBJ"], "/out/a-b");
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A kernel tree that the user has built: is everything there that our modules need?

use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use super::digest;
use super::own;
use super::Kernel;
use super::ARM64;
use crate::error;

/// Options without which our modules cannot be built or loaded.
const OPTIONS: &str = "CONFIG_MODULES=y\nCONFIG_LIVEPATCH=y\nCONFIG_RUST=y\n";

/// What a finished build of a kernel with Rust leaves.
const FILES: [&str; 5] = [
    "rust/libcore.rmeta",
    "rust/libkernel.rmeta",
    "rust/libpin_init.rmeta",
    "include/generated/rustc_cfg",
    "Module.symvers",
];

/// The kernel that was built in `dir`, or a sentence that says what it lacks.
pub fn check(dir: &Path) -> Result<Kernel> {
    let build = dir.canonicalize().map_err(|e| {
        error::usage(format!(
            "--kernel {}: {e}; it is `stock`, a release of Debian's, the name of a file in scripts/xtask/kernels or the folder in which a kernel was built",
            dir.display()
        ))
    })?;
    let bad = |what: String| error::host(format!("--kernel {}: {what}", dir.display()));

    let config = fs::read_to_string(build.join(".config")).map_err(|_| {
        bad("it has no .config; name the folder in which a kernel was built (its O=)".to_owned())
    })?;
    let missing = own::not_given(OPTIONS, &config);
    if !missing.is_empty() {
        return Err(bad(format!(
            "its .config lacks {}; switch that on, build it again, or leave --kernel out",
            missing.join(", ")
        )));
    }
    if let Some(absent) = FILES.iter().find(|file| !build.join(file).exists()) {
        return Err(bad(format!(
            "it is configured but not built ({absent} is missing); run make in it first"
        )));
    }

    let options = own::parse(&config);
    let theirs = options.get("RUSTC_VERSION_TEXT").unwrap_or(&"");
    let theirs = theirs.trim_matches('"');
    let ours = super::rustc_version()?;
    if theirs != ours {
        return Err(bad(format!(
            "it was built by `{theirs}`, and modules are built by the build root's `{ours}`; build the tree again in scripts/enter"
        )));
    }
    let release = fs::read_to_string(build.join("include/config/kernel.release"))?;
    let release = release.trim().to_owned();
    let source = build.join("source").canonicalize();
    let has = |option| options.get(option) == Some(&"y");
    let mut make_args = Vec::new();
    if has("CC_IS_CLANG") {
        make_args.push(own::LLVM.to_owned());
    }
    if has("ARM64") {
        make_args.push(ARM64.to_owned());
    }
    Ok(Kernel {
        key: format!("{release}-{}", digest(&[&build.to_string_lossy()])),
        image: super::image(&build, &make_args),
        make_args,
        source: source.unwrap_or_else(|_| build.clone()),
        build,
        release,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(config: Option<&str>) -> String {
        let dir = tempfile::tempdir().unwrap();
        if let Some(config) = config {
            fs::write(dir.path().join(".config"), config).unwrap();
        }
        format!("{:#}", check(dir.path()).unwrap_err())
    }

    #[test]
    fn what_a_tree_lacks_is_named() {
        assert!(complaint(None).contains("no .config"));
        let text = complaint(Some("CONFIG_MODULES=y\nCONFIG_LIVEPATCH=y\n"));
        assert!(text.contains("lacks CONFIG_RUST=y;"), "{text}");
        assert!(complaint(Some(OPTIONS)).contains("rust/libcore.rmeta is missing"));
    }
}

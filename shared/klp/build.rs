// SPDX-License-Identifier: GPL-2.0

//! Points Cargo at what Kbuild has generated; the samples name this file too.
//!
//! Cargo only checks and documents these crates. Kbuild, which does not read this file, builds the modules.

use std::{
    env,
    path::PathBuf,
    process::exit, //
};

fn main() {
    println!("cargo:rerun-if-env-changed=KLP_KBUILD");
    let Some(root) = env::var_os("KLP_KBUILD").map(PathBuf::from) else {
        println!("cargo:warning=kernel-side crates need a built kernel: run `cargo xtask check`");
        exit(1);
    };
    let package = env::var("CARGO_PKG_NAME").unwrap_or_default();
    let folder = root.join(&package);
    if !folder.is_dir() {
        println!("cargo:warning=no generated bindings for {package}: run `cargo xtask build`");
        exit(1);
    }
    println!("cargo:rustc-env=KLP_OBJ={}", folder.display());
}

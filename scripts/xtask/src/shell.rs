// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask shell`: the guest, by hand.
//!
//! Without words a shell on the terminal; with words that command, its output and a verdict.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::IsTerminal;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use parking_lot::Mutex;

use crate::catalog;
use crate::cli::KernelArgs;
use crate::cli::ShellArgs;
use crate::error;
use crate::error::Failure;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::paths;
use crate::process;
use crate::progress;
use crate::report;
use crate::vm;
use crate::vm::Guest;

/// `cargo xtask shell [COMMAND…]`.
pub fn run(args: &KernelArgs, options: &ShellArgs) -> Result<()> {
    let command = &options.command[..];
    if command.is_empty() && !std::io::stdin().is_terminal() {
        return Err(error::usage(
            "a shell needs a terminal; name the command to run: cargo xtask shell -- COMMAND",
        ));
    }
    let kernel = Kernel::ensure(args)?;
    // A shell is where one looks for what is wrong: a module that does not build is no obstacle.
    let told = Mutex::new(BTreeSet::new());
    let built = |folder: &str, _: &Path, took| {
        if took > Duration::from_secs(2) && told.lock().insert(folder.to_owned()) {
            eprintln!("built {folder} in {}", progress::duration(took));
        }
    };
    if !options.no_build {
        match kbuild::build_and_tell(&kernel, &options.build, built) {
            Err(error) if error.downcast_ref() != Some(&Failure::Interrupted) => {
                eprintln!("xtask: {error:#}");
            }
            done => drop(done?),
        }
    }
    let modules = kbuild::modules_dir(&kernel);
    let mut guest = Guest::new("shell", "");
    guest.nics = options.nics;
    guest.memory_mib = options.memory;
    guest.timeout = Duration::from_secs(options.timeout);
    guest.writable.clone_from(&options.writable);
    if command.is_empty() {
        return interactive(&kernel, &guest, &modules);
    }
    let dir = process::quote(&modules.to_string_lossy());
    // One word is a line for the shell, several are a command.
    let command = match command {
        [line] => line.clone(),
        words => words
            .iter()
            .map(|word| process::quote(word))
            .collect::<Vec<_>>()
            .join(" "),
    };
    guest.script = format!("export KLP_MODULES_DIR={dir}\ncd {dir} 2>/dev/null || cd /\n{command}");
    let outcome = vm::run(&kernel, &guest, |line| {
        // A reader that went away is no reason to leave the guest half-way.
        let _ = writeln!(std::io::stdout(), "{line}");
    })?;
    eprint!("{}", report::guest_trouble(&kernel, &outcome));
    match outcome.end? {
        0 => Ok(()),
        status => {
            eprintln!("xtask: the command ended with exit status {status}");
            anyhow::bail!(Failure::TestFailed)
        }
    }
}

fn interactive(kernel: &Kernel, guest: &Guest, modules: &Path) -> Result<()> {
    let folder = guest.folder();
    fs::create_dir_all(&folder)?;
    let samples = catalog::samples()?.into_iter();
    let samples: Vec<_> = samples
        .map(|sample| sample.livepatch.module + ".ko")
        .collect();
    // virtme-ng starts the user's shell by name only, so ours sets the scene and becomes bash.
    let shell = folder.join("shell");
    fs::write(&shell, shell_script(&kernel.release, modules, &samples))?;
    fs::set_permissions(&shell, Permissions::from_mode(0o755))?;

    let mut command = Command::new("vng");
    command
        // In real time: somebody sits at it.
        .args(vm::arguments(guest, kernel, vm::accel(kernel)?)?)
        // Over this it shows what is built meanwhile.
        .args((!kernel.is_without("NET_9P")).then_some("--force-9p"))
        .arg("--shell")
        .arg(&shell)
        .current_dir(paths::root());
    vm::tell(&command);
    // In our process group, since the terminal is its own.
    let status = command.status().context("starting virtme-ng")?;
    process::check_interrupted()?;
    if !status.success() {
        anyhow::bail!(Failure::Host(format!("the guest ended with {status}")));
    }
    Ok(())
}

/// What the guest starts as its shell; three lines of greeting.
fn shell_script(release: &str, modules: &Path, samples: &[String]) -> String {
    let greeting =
        format!("Linux {release}; this machine's files, and whatever you change is forgotten.");
    let here = format!(
        "The modules are here ($KLP_MODULES_DIR): {}; try insmod, dmesg.",
        samples.join(" ")
    );
    let leave = "Leave with exit; Ctrl-A X ends a guest that hangs.";
    format!(
        "#!/bin/bash\n\
         # Written by cargo xtask for one guest.\n\
         export KLP_MODULES_DIR={}\n\
         cd \"$KLP_MODULES_DIR\" || exit\n\
         printf '%s\\n' {} {} {}\n\
         exec /bin/bash -i\n",
        process::quote(&modules.to_string_lossy()),
        process::quote(&greeting),
        process::quote(&here),
        process::quote(leave),
    )
}

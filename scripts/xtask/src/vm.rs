// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One guest: a command, run on a kernel in a virtual machine, until its verdict.
//!
//! virtme-ng boots the kernel on the build root's files, read-only with an overlay that the guest
//! may write and that dies with it. What comes back is the command's output and its exit status;
//! the kernel's log goes to a file from its first line on, so that the trace of a panic is there.
//!
//! Choices that were measured, not guessed:
//! - Booting `vmlinux` through PVH saves an eighth of a boot and costs the random addresses; fewer udev rules and no
//!   tmpfiles changed it by less than the noise.
//! - The standard streams are pipes. QEMU opens them anew, and truncates what is a file.
//! - `timeout` stands around it all, so that even a `kill -9` of this tool leaves no guest for ever.

mod arguments;
mod kvm;

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use fs_err as fs;

use crate::error;
use crate::error::Failure;
use crate::kernel::Kernel;
use crate::oops;
use crate::paths;
use crate::process;
pub use arguments::arguments;
use arguments::VIRTIO_FS;
pub use kvm::accel;

/// What the guest's script prints last: the exit status of the command, which nothing else can
/// mistake for virtme-ng's own.
const STATUS_MARK: &str = "@xtask-exit-status=";

/// How much longer than our own time-out the outer `timeout` waits.
const OUTER_GRACE: Duration = Duration::from_secs(15);

/// How much longer everything may take on a kernel that checks each access and each lock.
const CHECKED_SLOWER: u32 = 4;

/// What such a kernel needs beside the guest's own memory: KASAN's shadow, freed objects that are kept, lockdep's tables.
const CHECKED_MEMORY_MIB: u32 = 1536;

/// The kernel has booted when it says so.
const INIT_RUNS: &str = "as init process";

/// Ask kmemleak what the guest's script has left behind.
///
/// An object is suspected when it is five seconds old and one scan after another finds nothing that points to it.
/// The kernel's own line says how many there are; the list says what they are.
const LEAK_CHECK: &str = r#"
leaks=/sys/kernel/debug/kmemleak
if [ -w "$leaks" ]; then
	for _ in 1 2; do
		sleep 6
		echo scan > "$leaks" || echo "kmemleak: cannot scan" > /dev/kmsg
	done
	while IFS= read -r line; do
		printf 'kmemleak: %s\n' "$line" > /dev/kmsg
	done < "$leaks"
fi
"#;

static VERBOSE: AtomicBool = AtomicBool::new(false);

/// From now on print each command line before it runs.
pub fn set_verbose(on: bool) {
    VERBOSE.store(on, Ordering::Relaxed);
}

/// Show a command line to a user who asked for it.
pub fn tell(command: &Command) {
    if VERBOSE.load(Ordering::Relaxed) {
        eprintln!("% {}", process::line(command));
    }
}

/// How the guest's instructions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// By the processor; only where a guest was seen to boot with it.
    Kvm,
    /// By QEMU's translator, which works everywhere.
    Tcg,
    /// By the translator, in one thread, and each instruction takes a nanosecond of the guest's time.
    Counted,
}

/// Whose time passes in the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The guest's own: its instructions are counted, and while it waits its clock leaps to the next timer. A host
    /// that is busy changes nothing but the end of it; processors run in turns.
    #[default]
    Virtual,
    /// The host's, for what needs processors that run at once.
    Real,
}

/// A command to run in a guest of its own.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Names the folder below `target/vm/` that takes script and logs.
    pub name: String,
    /// A script for `/bin/bash`, run as root.
    pub script: String,
    pub clock: Clock,
    pub cpus: u32,
    pub memory_mib: u32,
    /// Virtio network cards, each on a network of its own that QEMU plays.
    pub nics: u32,
    /// More words for the kernel's command line.
    pub append: Vec<String>,
    /// Folders of the host that the guest may write to; all else dies with it.
    pub writable: Vec<PathBuf>,
    /// After this the guest is taken for hung.
    pub timeout: Duration,
}

impl Guest {
    /// A guest for `script` with what every sample and test gets.
    pub fn new(name: &str, script: impl Into<String>) -> Guest {
        Guest {
            name: name.to_owned(),
            script: script.into(),
            clock: Clock::Virtual,
            cpus: 1,
            memory_mib: 1024,
            nics: 0,
            append: Vec::new(),
            writable: Vec::new(),
            timeout: Duration::from_secs(300),
        }
    }

    /// The folder that takes its script and logs.
    pub fn folder(&self) -> PathBuf {
        paths::target().join("vm").join(&self.name)
    }
}

/// How a guest ended: the exit status of its command, or what kept it from its end. [`Failure::Host`] is a guest that never ran
/// it, or a QEMU that died.
pub type End = Result<i32, Failure>;

/// The same guest with what it needs on a kernel with checkers.
fn on_checked(guest: &Guest) -> Guest {
    let mut guest = guest.clone();
    guest.memory_mib += CHECKED_MEMORY_MIB;
    guest.timeout *= CHECKED_SLOWER;
    // A splat has hundreds of lines, and the scripts read the log back to the beginning of a case.
    guest.append.push("log_buf_len=8M".to_owned());
    guest.script = format!(
        "(\nexport KLP_WAIT=\"${{KLP_WAIT:-{}}}\"\n{}\n)\nstatus=$?\n{LEAK_CHECK}\nexit $status",
        60 * CHECKED_SLOWER,
        guest.script
    );
    guest
}

/// What came back from a guest.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub end: End,
    /// What the command printed, both streams in one.
    pub output: String,
    /// The kernel's log, with what QEMU and virtme-ng had to say.
    pub console: PathBuf,
    pub elapsed: Duration,
}

impl Outcome {
    /// The kernel's log as text.
    pub fn console_text(&self) -> String {
        paths::read_lossy(&self.console)
    }
}

/// The script that the guest runs: the command, then its exit status where the host finds it.
fn wrapped(script: &str) -> String {
    format!(
        "#!/bin/bash\n\
         # Written by cargo xtask for one guest.\n\
         (\n{script}\n) 2>&1\n\
         status=$?\n\
         echo\n\
         echo \"{STATUS_MARK}$status\"\n"
    )
}

/// Take the exit status off the end of what the guest printed.
fn split_status(output: &str) -> (&str, Option<i32>) {
    match output.rsplit_once(STATUS_MARK) {
        None => (output, None),
        // The empty line before the mark is ours as well.
        Some((text, status)) => (
            text.strip_suffix('\n').unwrap_or(text),
            status.trim().parse().ok(),
        ),
    }
}

/// Boot `kernel` and run the guest's script; `each` sees its output line by line.
///
/// An error is the host's or the user's; however the *guest* ends, the answer is an [`Outcome`].
pub fn run(kernel: &Kernel, guest: &Guest, mut each: impl FnMut(&str)) -> Result<Outcome> {
    if kernel.is_without("NET_9P") && kernel.is_without(VIRTIO_FS) {
        return Err(error::host(format!(
            "{} cannot boot on the build root's files, having neither 9p nor virtiofs: `cargo xtask build` makes modules for it, to load them elsewhere",
            kernel.release
        )));
    }
    let accel = match guest.clock {
        Clock::Virtual => Accel::Counted,
        Clock::Real => accel(kernel)?,
    };
    let guest = if kernel.is_without("KASAN") && kernel.is_without("PROVE_LOCKING") {
        guest.clone()
    } else {
        on_checked(guest)
    };
    let outcome = run_with(kernel, &guest, accel, &mut each)?;
    // In real time a second processor sometimes never comes up under QEMU's translator. Nothing was tested by that.
    if outcome.end == Err(Failure::TimedOut) && !outcome.console_text().contains(INIT_RUNS) {
        eprintln!(
            "{}: no init after {:.0} s, by a kernel that hangs or a machine that is busy; booting it once more",
            guest.name,
            outcome.elapsed.as_secs_f64()
        );
        return run_with(kernel, &guest, accel, &mut each);
    }
    Ok(outcome)
}

fn run_with(
    kernel: &Kernel,
    guest: &Guest,
    accel: Accel,
    each: &mut impl FnMut(&str),
) -> Result<Outcome> {
    let folder = guest.folder();
    fs::create_dir_all(&folder)?;
    let script = folder.join("guest.sh");
    fs::write(&script, wrapped(&guest.script))?;
    let console = folder.join("console.log");

    let limit = (guest.timeout + OUTER_GRACE).as_secs().to_string();
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", &limit, "vng"])
        .args(arguments(guest, kernel, accel)?)
        // The kernel's log goes to standard error, all of it; on a terminal it would be in the way.
        .args(["--append", "ignore_loglevel", "--verbose", "--"])
        .arg(format!(
            "exec bash {}",
            process::quote(&script.to_string_lossy())
        ))
        .current_dir(paths::root());
    tell(&command);
    let start = Instant::now();
    let deadline = start + guest.timeout;
    let (mut child, streams) = process::Running::piped(&mut command)?;
    let mut text = String::new();
    let mut logs = [
        fs::File::create(folder.join("output.log"))?,
        fs::File::create(&console)?,
    ];
    let in_time = child.lines(streams, Some(deadline), |stream, line| {
        if stream == 0 {
            if !line.starts_with(STATUS_MARK) {
                each(line);
            }
            text.push_str(line);
            text.push('\n');
        }
        Ok(writeln!(logs[stream], "{line}")?)
    })?;
    // What has nothing more to say `timeout` ends, if need be.
    let status = in_time.then(|| child.wait()).transpose()?;
    drop(child);

    let (output, exit) = split_status(&text);
    let kernel_log = paths::read_lossy(&console);
    let end = match (exit, status) {
        _ if oops::is_fatal(&kernel_log) => Err(Failure::GuestPanic),
        (Some(code), _) => Ok(code),
        (None, None) => Err(Failure::TimedOut),
        (None, Some(status)) => Err(Failure::Host(format!(
            "the guest did not start: virtme-ng ended with {status}: {} (log: {})",
            oops::tail(&kernel_log, 3).join(" | "),
            console.display()
        ))),
    };
    Ok(Outcome {
        end,
        output: output.to_owned(),
        console,
        elapsed: start.elapsed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrapper_reports_what_the_script_returned() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s.sh");
        fs::write(&file, wrapped("printf partial; echo oops >&2; exit 9")).unwrap();
        let out = process::capture(Command::new("bash").arg(&file)).unwrap();
        assert_eq!(split_status(&out), ("partialoops\n", Some(9)));
        assert_eq!(split_status("a\n"), ("a\n", None));
        assert_eq!(split_status(STATUS_MARK).1, None);
    }

    #[test]
    fn a_kernel_with_checkers_gets_more_of_everything() {
        let guest = Guest::new("x", "exit 3");
        let more = on_checked(&guest);
        assert!(more.memory_mib > guest.memory_mib && more.timeout > guest.timeout);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s.sh");
        // No kmemleak on this machine, or none that a test may write to: the status is the script's all the same.
        let script = more
            .script
            .replace("/sys/kernel/debug/kmemleak", "/nonexistent/kmemleak");
        fs::write(&file, wrapped(&script)).unwrap();
        let out = process::capture(Command::new("bash").arg(&file)).unwrap();
        assert_eq!(split_status(&out).1, Some(3));
    }
}

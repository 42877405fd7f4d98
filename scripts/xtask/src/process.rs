// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Children: each in a process group of its own, so that Ctrl-C, a time-out, or an error here ends
//! the child *and* what it started.

use std::borrow::Cow;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use parking_lot::Mutex;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use crate::error::Failure;

/// How long a process group may take to end after a polite request.
const GRACE: Duration = Duration::from_secs(3);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// From now on SIGINT, SIGTERM and SIGHUP end the children, then this process with
/// [`Failure::Interrupted`].
pub fn catch_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("catching signals")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            end_all(Signal::SIGTERM);
            thread::spawn(|| {
                thread::sleep(GRACE);
                end_all(Signal::SIGKILL);
                // Whoever waits for a child has seen it end by now and unwinds to main().
                thread::sleep(GRACE);
                std::process::exit(Failure::Interrupted.code().into());
            });
        }
    });
    Ok(())
}

/// Fail when a signal asked us to stop; for loops of our own that wait for no child.
pub fn check_interrupted() -> Result<()> {
    anyhow::ensure!(!INTERRUPTED.load(Ordering::SeqCst), Failure::Interrupted);
    Ok(())
}

fn end_all(signal: Signal) {
    for &group in GROUPS.lock().iter() {
        // A group that has ended meanwhile is what we want.
        let _ = killpg(group, signal);
    }
}

/// What a child says on one of its streams.
pub type Stream = Box<dyn Read + Send>;

/// A running child and its process group; dropping it ends the whole group.
pub struct Running {
    child: Child,
    group: Pid,
    name: String,
}

impl Running {
    /// Start `command` in a process group of its own.
    pub fn spawn(command: &mut Command) -> Result<Running> {
        check_interrupted()?;
        let name = command.get_program().to_string_lossy().into_owned();
        // The list stays locked until the child is on it: a signal in between waits for us.
        let mut list = GROUPS.lock();
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let group = Pid::from_raw(child.id() as i32);
        list.push(group);
        Ok(Running { child, group, name })
    }

    /// The same, with both of its streams for us and nothing to read.
    pub fn piped(command: &mut Command) -> Result<(Running, [Stream; 2])> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = Running::spawn(command.stderr(Stdio::piped()))?;
        let child = &mut running.child;
        let streams = child.stdout.take().zip(child.stderr.take());
        let (out, err) = streams.context("a child without its streams")?;
        Ok((running, [Box::new(out), Box::new(err)]))
    }

    /// Wait for the end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.wait_meanwhile(|| {})
    }

    /// The same; `meanwhile` is called now and then.
    pub fn wait_meanwhile(&mut self, mut meanwhile: impl FnMut()) -> Result<ExitStatus> {
        let mut nap = Duration::from_millis(2);
        loop {
            let ended = self.child.try_wait();
            if let Some(status) = ended.with_context(|| format!("waiting for {}", self.name))? {
                check_interrupted()?;
                return Ok(status);
            }
            meanwhile();
            thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(50));
        }
    }

    /// The lines of both `streams`, as they come, until these are closed, each with the number of its stream. At `deadline`
    /// the group is ended, and the answer is that it was not in time.
    pub fn lines(
        &mut self,
        streams: [Stream; 2],
        deadline: Option<Instant>,
        mut each: impl FnMut(usize, &str) -> Result<()>,
    ) -> Result<bool> {
        let (send, lines) = mpsc::channel();
        for (nr, stream) in streams.into_iter().enumerate() {
            let send = send.clone();
            thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                let mut bytes = Vec::new();
                while matches!(stream.read_until(b'\n', &mut bytes), Ok(n) if n > 0) {
                    // A serial line ends lines in its own way.
                    bytes.retain(|byte| !b"\r\n".contains(byte));
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    if send.send((nr, text)).is_err() {
                        break;
                    }
                    bytes.clear();
                }
            });
        }
        drop(send);
        loop {
            match lines.recv_timeout(Duration::from_millis(50)) {
                Ok((nr, text)) => each(nr, &text)?,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(true),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            check_interrupted()?;
            if deadline.is_some_and(|d| Instant::now() >= d) {
                self.end();
                return Ok(false);
            }
        }
    }

    /// End the group: politely, then by force.
    pub fn end(&mut self) {
        let _ = killpg(self.group, Signal::SIGTERM);
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = killpg(self.group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.end();
        }
        GROUPS.lock().retain(|&g| g != self.group);
    }
}

/// Run `command` on our own standard streams and give its exit status.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    Running::spawn(command)?.wait()
}

/// Run `command` and give its standard output; failure is an error that quotes standard error.
pub fn capture(command: &mut Command) -> Result<String> {
    let (mut child, streams) = Running::piped(command)?;
    let mut said = [String::new(), String::new()];
    child.lines(streams, None, |stream, line| {
        said[stream] += line;
        said[stream].push('\n');
        Ok(())
    })?;
    let status = child.wait()?;
    let [out, err] = said;
    if !status.success() {
        bail!("{} ended with {status}: {}", line(command), err.trim());
    }
    Ok(out)
}

/// Run `command` with both of its streams going, line by line, to `log` and to `each`; its standard input is empty. That it
/// failed for want of room on a disk is an error of its own.
pub fn logged(command: &mut Command, log: &Path, mut each: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut file = fs::File::create(log)?;
    writeln!(file, "% {}", line(command))?;
    let (mut child, streams) = Running::piped(command)?;
    let mut full = false;
    child.lines(streams, None, |_, text| {
        full |= text.contains("No space left on device");
        each(text);
        Ok(writeln!(file, "{text}")?)
    })?;
    let status = child.wait()?;
    if full && !status.success() {
        bail!(io::Error::from(Errno::ENOSPC));
    }
    Ok(status)
}

/// The same, and all that it said.
pub fn transcript(command: &mut Command, log: &Path) -> Result<(ExitStatus, Vec<String>)> {
    let mut lines = Vec::new();
    let status = logged(command, log, |line| lines.push(line.to_owned()))?;
    Ok((status, lines))
}

/// `command` as one would type it.
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quote(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// One word, quoted for a shell when it needs to be.
pub fn quote(word: &str) -> String {
    shlex::Quoter::new()
        .allow_nul(true)
        .quote(word)
        .map_or_else(|_| word.to_owned(), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn capture_gives_output_or_the_complaint() {
        assert_eq!(capture(&mut sh("echo out; echo err >&2")).unwrap(), "out\n");
        let error = capture(&mut sh("echo no such thing >&2; exit 7")).unwrap_err();
        assert!(error.to_string().ends_with("exit status: 7: no such thing"));
    }

    #[test]
    fn a_time_out_ends_grandchildren() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("pid");
        let script = format!("sleep 60 & echo $! >{}; wait", mark.display());
        let (mut child, streams) = Running::piped(&mut sh(&script)).unwrap();
        let deadline = Instant::now() + Duration::from_millis(500);
        assert!(!child.lines(streams, Some(deadline), |_, _| Ok(())).unwrap());
        let pid = std::fs::read_to_string(&mark).unwrap();
        // A zombie that nobody has reaped yet has no command line any more.
        let left =
            || std::fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|l| !l.is_empty());
        let until = Instant::now() + Duration::from_secs(10);
        while left() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(!left(), "sleep {pid} is still there");
    }
}

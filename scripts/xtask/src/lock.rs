// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Two runs at once: the second waits for the first.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::fcntl::FlockArg;

use crate::process;

/// A lock that ends with its owner, however that ends.
pub type Lock = Flock<File>;

/// Hold `path` against other runs of this tool, however long it takes to get it; `what` says what
/// the other one does.
pub fn lock(path: &Path, what: &str) -> Result<Lock> {
    let mut file = fs::File::create(path)?.into_file();
    let mut said = false;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()))
            }
        };
        if !said {
            eprintln!("another run {what}; waiting for it");
            said = true;
        }
        process::check_interrupted()?;
        thread::sleep(Duration::from_millis(100));
    }
}

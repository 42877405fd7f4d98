// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How a run can end, and the exit status of each end.
//!
//! A [`Failure`] travels inside [`anyhow::Error`], with as much context as was added on the way;
//! an error without one means that this host let us down.

use std::process::ExitCode;

use thiserror::Error;

/// Why a run did not end in success.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    #[error("a test failed")]
    TestFailed,
    /// What this repository holds does not build, or is not in order: what, and where to read on.
    #[error("{0}")]
    Work(String),
    /// The command line asks for something that does not exist.
    #[error("{0}")]
    Usage(String),
    /// This host lacks something or is broken: one sentence that says what to do.
    #[error("{0}")]
    Host(String),
    /// The kernel lacks what a sample needs, or what it mends is mended there.
    #[error("not on this kernel: {0}")]
    Unfit(String),
    #[error("the guest kernel panicked or oopsed")]
    GuestPanic,
    #[error("stopped at the time-out")]
    TimedOut,
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// The exit status, as `cargo xtask --help` and the README document it.
    pub fn code(&self) -> u8 {
        match self {
            Failure::TestFailed | Failure::Work(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Host(_) | Failure::Unfit(_) => 3,
            Failure::GuestPanic => 4,
            Failure::TimedOut => 5,
            Failure::Interrupted => 130,
        }
    }
}

/// A [`Failure::Host`] as an error: `what` is one sentence that says what to do next.
pub fn host(what: impl Into<String>) -> anyhow::Error {
    Failure::Host(what.into()).into()
}

/// A [`Failure::Usage`] as an error.
pub fn usage(what: impl Into<String>) -> anyhow::Error {
    Failure::Usage(what.into()).into()
}

/// Why a sample is not for this kernel, if that is all that `error` says.
pub fn unfit(error: &anyhow::Error) -> Option<&str> {
    match error.downcast_ref() {
        Some(Failure::Unfit(why)) => Some(why),
        _ => None,
    }
}

/// The exit status that belongs to `error`.
pub fn code(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Failure>().map_or(3, Failure::code)
}

/// Print `error` on standard error and give the exit status that belongs to it.
pub fn report(error: &anyhow::Error) -> ExitCode {
    // The summary of the tests is the message.
    if error.downcast_ref() != Some(&Failure::TestFailed) {
        eprintln!("xtask: {error:#}");
    }
    ExitCode::from(code(error))
}

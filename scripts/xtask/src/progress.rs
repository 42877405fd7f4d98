// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Long work: a bar with rate and time left on a terminal, a plain line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::Duration;
use std::time::Instant;

use indicatif::BinaryBytes;
use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;

use crate::parts;

/// How often a run without a terminal says where it is.
const PLAIN_EVERY: Duration = Duration::from_secs(30);

/// What is on the terminal now, one line below the other. Where there is none nothing is drawn.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A line below all that is printed, as long as it lasts; its message is what it shows.
pub fn line() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg}").unwrap_or(ProgressStyle::default_bar());
    BARS.add(ProgressBar::no_length().with_style(style))
}

/// Print `text` above the lines that are on the terminal.
pub fn say(text: &str) {
    BARS.suspend(|| print!("{text}"));
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Steps,
    Files,
    Bytes,
}

/// One piece of long work.
pub struct Progress {
    name: String,
    unit: Unit,
    /// Not shown where there is no terminal; it counts there as well.
    bar: ProgressBar,
    said: Instant,
}

impl Progress {
    /// Work of about `total` units, `done` of which were done by an earlier run.
    pub fn new(name: &str, unit: Unit, total: u64, done: u64) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        bar.set_position(done);
        // The rate is this run's.
        bar.reset_eta();
        if std::io::stderr().is_terminal() {
            let template = match unit {
                Unit::Bytes => {
                    "{msg} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left"
                }
                _ => "{msg} [{bar:30}] {percent}% {pos}/~{len} {per_sec}, about {eta} left",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(name.to_owned());
            let bar = BARS.add(bar.clone());
            bar.enable_steady_tick(Duration::from_millis(250));
        } else {
            eprintln!("{name}: started");
        }
        Progress {
            name: name.to_owned(),
            unit,
            bar,
            said: Instant::now(),
        }
    }

    /// One more unit is done.
    pub fn step(&mut self) {
        self.set(self.bar.position() + 1);
    }

    /// `done` units are done.
    pub fn set(&mut self, done: u64) {
        // The total is an estimate: a bar that has arrived before the work is over stays there.
        let total = self.bar.length().unwrap_or(done);
        self.bar.set_position(done.min(total));
        if !self.bar.is_hidden() || self.said.elapsed() < PLAIN_EVERY {
            return;
        }
        self.said = Instant::now();
        let (rate, left) = (self.bar.per_sec(), duration(self.bar.eta()));
        let how_far = match self.unit {
            Unit::Bytes => format!("{} of {}, {}/s", size(done), size(total), size(rate as u64)),
            Unit::Steps => format!("{done} of about {total} steps, {rate:.1}/s"),
            Unit::Files => format!("{done} of about {total} files, {rate:.0}/s"),
        };
        eprintln!("{}: {how_far}, about {left} left", self.name);
    }

    /// The work is over; say how long it took.
    pub fn finish(self) {
        let took = self.bar.elapsed();
        parts::record(&self.name, took);
        self.bar.finish_and_clear();
        eprintln!("{}: done in {}", self.name, duration(took));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // After an error the next thing on the terminal is its message.
        self.bar.finish_and_clear();
    }
}

/// A time for people.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

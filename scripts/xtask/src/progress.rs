// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Long work: a bar with rate and time left on a terminal, a plain line now and then elsewhere.

use std::io::IsTerminal;
use std::time::Duration;
use std::time::Instant;

use indicatif::BinaryBytes;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;

use crate::parts;

/// How often a run without a terminal says where it is.
const PLAIN_EVERY: Duration = Duration::from_secs(30);

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
    total: u64,
    first: u64,
    done: u64,
    start: Instant,
    said: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Work of about `total` units, `done` of which were done by an earlier run.
    pub fn new(name: &str, unit: Unit, total: u64, done: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = match unit {
                Unit::Bytes => {
                    "{msg} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left"
                }
                _ => "{msg} [{bar:30}] {percent}% {pos}/~{len} {per_sec}, about {eta} left",
            };
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(name.to_owned());
            bar.set_position(done);
            // The rate is this run's.
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        if bar.is_none() {
            eprintln!("{name}: started");
        }
        let now = Instant::now();
        Progress {
            name: name.to_owned(),
            unit,
            total,
            first: done,
            done,
            start: now,
            said: now,
            bar,
        }
    }

    /// One more unit is done.
    pub fn step(&mut self) {
        self.set(self.done + 1);
    }

    /// `done` units are done.
    pub fn set(&mut self, done: u64) {
        self.done = done;
        if let Some(bar) = &self.bar {
            // The total is an estimate: a bar that has arrived before the work is over stays there.
            bar.set_position(done.min(self.total));
        } else if self.said.elapsed() >= PLAIN_EVERY {
            self.said = Instant::now();
            eprintln!(
                "{}: {}",
                self.name,
                plain(
                    self.unit,
                    self.done,
                    self.total,
                    self.first,
                    self.start.elapsed()
                )
            );
        }
    }

    /// The work is over; say how long it took.
    pub fn finish(self) {
        let took = self.start.elapsed();
        parts::record(&self.name, took);
        let took = duration(took);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{}: done in {took}", self.name);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // After an error the next thing on the terminal is its message.
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn plain(unit: Unit, done: u64, total: u64, first: u64, elapsed: Duration) -> String {
    let rate = (done - first) as f64 / elapsed.as_secs_f64().max(0.001);
    let left = Duration::from_secs_f64(total.saturating_sub(done) as f64 / rate.max(0.001));
    let left = duration(left);
    match unit {
        Unit::Bytes => format!(
            "{} of {}, {}/s, {left} left",
            size(done),
            size(total),
            size(rate as u64)
        ),
        Unit::Steps => format!("{done} of about {total} steps, {rate:.1}/s, about {left} left"),
        Unit::Files => format!("{done} of about {total} files, {rate:.0}/s, about {left} left"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_carry_rate_and_time_left() {
        let minute = Duration::from_secs(60);
        assert_eq!(
            plain(Unit::Steps, 700, 2000, 100, minute),
            "700 of about 2000 steps, 10.0/s, about 2 min 10 s left"
        );
        assert_eq!(
            plain(Unit::Bytes, 60 << 20, 150 << 20, 0, minute),
            "60.00 MiB of 150.00 MiB, 1.00 MiB/s, 90 s left"
        );
    }

    #[test]
    fn nothing_done_yet_is_no_division_by_zero() {
        let text = plain(Unit::Steps, 0, 2000, 0, Duration::ZERO);
        assert!(text.starts_with("0 of about 2000"), "{text}");
    }

    #[test]
    fn times_for_people() {
        assert_eq!(duration(Duration::from_millis(1500)), "1.5 s");
        assert_eq!(duration(Duration::from_secs(655)), "10 min 55 s");
    }
}

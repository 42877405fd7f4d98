// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a first run waits for, part by part: `scripts/setup` and every long piece of work write here how long they took.

use std::env;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;
use std::time::SystemTime;

use fs_err as fs;

use crate::paths;
use crate::progress;

/// In the cache folder: seconds since 1970 at the end, seconds that it took, the part's name. A new build root begins it anew.
const FILE: &str = "parts";

/// When `scripts/demo` began, and when it had handed over to cargo.
const BEGAN: &str = "KLP_BEGAN";
const ENTERED: &str = "KLP_ENTERED";

fn now() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0.0, |now| now.as_secs_f64())
}

fn moment(variable: &str) -> Option<f64> {
    env::var(variable).ok()?.parse().ok()
}

/// `name` has just ended, and took so long. Nothing depends on it, so no failure is told.
pub fn record(name: &str, took: Duration) {
    let line = format!("{:.0} {:.1} {name}\n", now(), took.as_secs_f64());
    let Ok(cache) = paths::cache() else { return };
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(cache.join(FILE));
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}

fn record_since(variable: &str, name: &str) {
    if let Some(began) = moment(variable) {
        record(name, Duration::from_secs_f64((now() - began).max(0.0)));
    }
}

/// Cargo has built this program, where it had to.
pub fn built() {
    record_since(ENTERED, "build the host tool");
}

/// So far it is since the user's command.
pub fn mark(name: &str) {
    record_since(BEGAN, &format!("= {name}"));
}

fn read() -> String {
    paths::cache().map_or(String::new(), |cache| paths::read_lossy(&cache.join(FILE)))
}

/// The parts of this command, for the end of `demo`.
pub fn told() -> String {
    moment(BEGAN).map_or(String::new(), |began| table(&read(), began, 1.0))
}

/// `bench cold`: the parts since the build root was made.
pub fn all() -> String {
    table(&read(), 0.0, 0.0)
}

/// The parts that ended after `since` and took `least` seconds.
fn table(parts: &str, since: f64, least: f64) -> String {
    let mut text = String::from("what it took:\n");
    for line in parts.lines() {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let [end, took, name] = words[..] else {
            continue;
        };
        let (end, took) = (end.parse(), took.parse().unwrap_or(0.0));
        if took < least || end.is_ok_and(|end: f64| end < since) {
            continue;
        }
        let took = progress::duration(Duration::from_secs_f64(took));
        let (from, name) = match name.strip_prefix("= ") {
            Some(sum) => ("from the command to ", sum),
            None => ("", name),
        };
        let _ = writeln!(text, "  {took:>12}  {from}{name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_and_told() {
        let parts = "90 66.0 old\n200 130.5 = the first timeline\n200 0.5 short\nhalf a li";
        assert_eq!(
            table(parts, 100.0, 1.0),
            "what it took:\n    2 min 10 s  from the command to the first timeline\n"
        );
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a first run waits for, part by part: `scripts/setup` and every long piece of work write here how long they took.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::time::Duration;
use std::time::SystemTime;

use crate::paths;
use crate::progress;

/// In the cache folder: seconds since 1970 at the end, seconds that it took, the part's name. A new build root begins it anew.
const FILE: &str = "parts";

/// When `scripts/demo` began, and when it had handed over to cargo.
const BEGAN: &str = "KLP_BEGAN";
const ENTERED: &str = "KLP_ENTERED";

/// One part of the way.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    end: f64,
    took: f64,
    name: String,
}

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
    let file = paths::cache().map(|cache| {
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(cache.join(FILE))
    });
    if let Ok(Ok(mut file)) = file {
        let _ = file.write_all(line.as_bytes());
    }
}

/// Cargo has built this program, where it had to.
pub fn built() {
    if let Some(entered) = moment(ENTERED) {
        record(
            "build the host tool",
            Duration::from_secs_f64((now() - entered).max(0.0)),
        );
    }
}

/// So far it is since the user's command.
pub fn mark(name: &str) {
    if let Some(began) = moment(BEGAN) {
        record(
            &format!("= {name}"),
            Duration::from_secs_f64((now() - began).max(0.0)),
        );
    }
}

fn parse(text: &str) -> Vec<Part> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            Some(Part {
                end: words.next()?.parse().ok()?,
                took: words.next()?.parse().ok()?,
                name: words.next()?.to_owned(),
            })
        })
        .collect()
}

fn read() -> Vec<Part> {
    let text = paths::cache().and_then(|cache| Ok(fs::read_to_string(cache.join(FILE))?));
    parse(&text.unwrap_or_default())
}

/// The parts of this command, for the end of `demo`.
pub fn told() -> String {
    let Some(began) = moment(BEGAN) else {
        return String::new();
    };
    table(
        read()
            .into_iter()
            .filter(|part| part.end >= began && part.took >= 1.0),
    )
}

/// `bench cold`: the parts since the build root was made.
pub fn all() -> String {
    table(read().into_iter())
}

fn table(parts: impl Iterator<Item = Part>) -> String {
    let mut text = String::from("what it took:\n");
    for part in parts {
        let took = progress::duration(Duration::from_secs_f64(part.took));
        let _ = match part.name.strip_prefix("= ") {
            Some(sum) => writeln!(text, "  {took:>12}  from the command to {sum}"),
            None => writeln!(text, "  {took:>12}  {}", part.name),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_and_told() {
        let parts =
            parse("100 66.0 make the build root\n200 130.5 = the first timeline\nhalf a li");
        assert_eq!(parts.len(), 2);
        assert_eq!(
            table(parts.into_iter()),
            "what it took:\n          66 s  make the build root\n    2 min 10 s  from the command to the first timeline\n"
        );
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a run shows while it goes on.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use indicatif::ProgressBar;
use parking_lot::Mutex;

use crate::progress;
use crate::queue;
use crate::report;
use crate::results::Suite;

/// Takes suites as they end, and shows on a terminal those that run.
pub struct Told {
    state: Mutex<State>,
    pub total: usize,
    line: ProgressBar,
}

#[derive(Default)]
struct State {
    suites: Vec<Suite>,
    /// What is not done, with what it may take, and when it began.
    left: BTreeMap<String, (Duration, Option<Instant>)>,
}

impl Told {
    pub fn new(total: usize) -> Told {
        Told {
            state: Mutex::default(),
            total,
            line: progress::line(),
        }
    }

    pub fn plan(&self, name: &str, guess: Duration) {
        self.state
            .lock()
            .left
            .insert(name.to_owned(), (guess, None));
    }

    pub fn begin(&self, name: &str) {
        let mut state = self.state.lock();
        if let Some((_, began)) = state.left.get_mut(name) {
            *began = Some(Instant::now());
        }
        self.line.set_message(state.line(self.total));
    }

    pub fn tell(&self, suite: Suite, trouble: &str) {
        let mut state = self.state.lock();
        progress::say(&format!("{}{trouble}", report::suite(&suite)));
        state.left.remove(&suite.name);
        state.suites.push(suite);
        self.line.set_message(state.line(self.total));
    }

    /// All that has ended.
    pub fn end(&self) -> Vec<Suite> {
        self.line.finish_and_clear();
        std::mem::take(&mut self.state.lock().suites)
    }
}

impl State {
    /// How far it is, what runs, and how long the rest takes if nothing has changed since the last run.
    fn line(&self, total: usize) -> String {
        let mut left = Duration::ZERO;
        let mut running = Vec::new();
        for (name, (guess, began)) in &self.left {
            left += guess.saturating_sub(began.map_or(Duration::ZERO, |began| began.elapsed()));
            if began.is_some() {
                running.push(name.as_str());
            }
        }
        let workers = u32::try_from(queue::workers()).unwrap_or(1);
        format!(
            "{} of {total}, about {} left: {}",
            self.suites.len(),
            progress::duration(left / workers),
            running.join(", ")
        )
    }
}

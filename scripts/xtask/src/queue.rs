// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The one queue: so many jobs at once, each when those that it needs are done, those first that most hangs on.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::panic::AssertUnwindSafe;
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::Result;
use parking_lot::Condvar;
use parking_lot::Mutex;

/// Something to do.
pub struct Job<'a> {
    /// How long it may take.
    pub guess: Duration,
    /// The places in the queue of those that must be done before; all of them stand before it.
    pub after: Vec<usize>,
    /// No two jobs with the same word run at once: one of them would only wait for the other.
    pub alone: Option<&'static str>,
    pub work: Box<dyn Fn() -> Result<()> + Send + Sync + 'a>,
}

impl<'a> Job<'a> {
    /// Something that needs nothing else.
    pub fn new(work: impl Fn() -> Result<()> + Send + Sync + 'a) -> Job<'a> {
        Job {
            guess: Duration::ZERO,
            after: Vec::new(),
            alone: None,
            work: Box::new(work),
        }
    }
}

/// How many jobs to run at once.
pub fn workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[derive(Default)]
struct State {
    begun: BTreeSet<usize>,
    done: BTreeSet<usize>,
    error: Option<anyhow::Error>,
}

/// Do all of `jobs`; the first error lets no other job begin.
pub fn run(jobs: &[Job<'_>], workers: usize) -> Result<()> {
    let rank = ranks(jobs);
    let state = Mutex::new(State::default());
    let changed = Condvar::new();
    let lock = || state.lock();
    let work = || {
        let mut state = lock();
        while state.error.is_none() && state.begun.len() < jobs.len() {
            let Some(next) = next(jobs, &rank, &state) else {
                changed.wait(&mut state);
                continue;
            };
            state.begun.insert(next);
            drop(state);
            // Nobody may wait for ever for a job that panicked.
            let result = catch_unwind(AssertUnwindSafe(&jobs[next].work))
                .unwrap_or_else(|_| Err(anyhow!("a job of the tests panicked")));
            state = lock();
            state.done.insert(next);
            if let Err(error) = result {
                state.error.get_or_insert(error);
            }
            changed.notify_all();
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers.min(jobs.len()) {
            scope.spawn(work);
        }
    });
    let state = state.into_inner();
    state.error.map_or(Ok(()), Err)
}

/// How much work waits for each job, itself included: a kernel for all of its guests.
fn ranks(jobs: &[Job<'_>]) -> Vec<Duration> {
    let mut rank = vec![Duration::ZERO; jobs.len()];
    for (at, job) in jobs.iter().enumerate().rev() {
        rank[at] += job.guess;
        let own = rank[at];
        for &before in &job.after {
            rank[before] += own;
        }
    }
    rank
}

/// The job that may begin now and that most hangs on.
fn next(jobs: &[Job<'_>], rank: &[Duration], state: &State) -> Option<usize> {
    let running = || state.begun.difference(&state.done);
    (0..jobs.len())
        .filter(|at| !state.begun.contains(at))
        .filter(|&at| jobs[at].after.iter().all(|job| state.done.contains(job)))
        .filter(|&at| {
            jobs[at].alone.is_none() || !running().any(|&other| jobs[other].alone == jobs[at].alone)
        })
        // The first of several that are alike.
        .rev()
        .max_by_key(|&at| rank[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    #[test]
    fn what_most_hangs_on_comes_first() {
        let log = Mutex::new(Vec::new());
        let job = |nr: usize, seconds, after: &[usize]| {
            let log = &log;
            Job {
                guess: Duration::from_secs(seconds),
                after: after.to_vec(),
                ..Job::new(move || {
                    log.lock().push(nr);
                    Ok(())
                })
            }
        };
        // The third is the longest, but the second is what the fourth, longer together, waits for.
        let jobs = [
            job(0, 1, &[]),
            job(1, 2, &[]),
            job(2, 9, &[]),
            job(3, 8, &[1]),
        ];
        run(&jobs, 1).unwrap();
        assert_eq!(*log.lock(), [1, 2, 3, 0]);
    }

    #[test]
    fn an_error_ends_the_queue() {
        let jobs = [
            Job::new(|| anyhow::bail!("no")),
            Job {
                after: vec![0],
                ..Job::new(|| panic!("it runs all the same"))
            },
        ];
        assert_eq!(run(&jobs, 4).unwrap_err().to_string(), "no");
    }

    #[test]
    fn some_do_not_run_beside_each_other() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let jobs = [0; 4].map(|_| Job {
            alone: Some("cargo"),
            ..Job::new(|| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(20));
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
        });
        run(&jobs, 3).unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }
}

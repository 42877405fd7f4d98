// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask demo`: every sample on the real kernel, told in their order.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use console::style;
use parking_lot::Mutex;

use crate::catalog;
use crate::catalog::Sample;
use crate::cli::KernelArgs;
use crate::error;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::ktap::Case;
use crate::ktap::Verdict;
use crate::parts;
use crate::process;
use crate::queue;
use crate::queue::Job;
use crate::run::story;

/// Each sample in a guest of its own. One guest keeps one processor busy; while it runs the next one's module is built.
pub fn run(args: &KernelArgs) -> Result<()> {
    let samples = catalog::samples()?;
    parts::built();
    let kernel = Kernel::ensure(args)?;
    let building = Mutex::new(());
    let told: Mutex<(usize, BTreeMap<usize, Told>)> = Mutex::default();
    let work = &|nr: usize, sample: &Sample| {
        let mut text = String::new();
        // Kbuild keeps every processor busy by itself.
        let one_at_a_time = building.lock();
        let built = kbuild::build(&kernel, std::slice::from_ref(&sample.stem));
        drop(one_at_a_time);
        let seen = built.and_then(|_| story(&mut text, &kernel, sample));
        let mut told = told.lock();
        let (printed, told) = &mut *told;
        told.insert(nr, Told { text, seen });
        while let Some(one) = told.get(printed) {
            if *printed == 0 {
                parts::mark("the first timeline");
            }
            println!("{}", one.text);
            if let Err(error) = &one.seen {
                eprintln!("xtask: {}: {error:#}\n", samples[*printed].stem);
            }
            *printed += 1;
        }
        process::check_interrupted()
    };
    let jobs: Vec<Job<'_>> = samples
        .iter()
        .enumerate()
        .map(|(nr, sample)| Job::new(move || work(nr, sample)))
        .collect();
    queue::run(&jobs, queue::workers())?;
    drop(jobs);
    let (_, told) = told.into_inner();
    print!("{}", summary(&kernel.release, &samples, &told));
    parts::mark("the last timeline");
    print!("{}", parts::told());
    told.into_values()
        .filter_map(|one| one.seen.err())
        .find(|error| error::unfit(error).is_none())
        .map_or(Ok(()), Err)
}

/// Each sample's story as a case: it is told, and ends in the sentence that says what changed.
pub fn stories(args: &KernelArgs) -> Result<Vec<Case>> {
    let kernel = Kernel::ensure(args)?;
    let samples = catalog::samples()?;
    let stems: Vec<String> = samples.iter().map(|sample| sample.stem.clone()).collect();
    kbuild::build(&kernel, &stems)?;
    let mut cases = Vec::new();
    for sample in &samples {
        let mut text = String::new();
        let told = story(&mut text, &kernel, sample);
        process::check_interrupted()?;
        let verdict = match told {
            Ok(_) => Verdict::Pass,
            Err(error) => match error::unfit(&error) {
                Some(why) => Verdict::Skip(why.to_owned()),
                None => {
                    text += &format!("{error:#}");
                    Verdict::Fail
                }
            },
        };
        let mut case = Case::new(&sample.stem, verdict);
        if case.is_failed() {
            case.said = text.lines().map(str::to_owned).collect();
        }
        cases.push(case);
    }
    Ok(cases)
}

/// One sample's story as text, and what of it the summary says.
struct Told {
    text: String,
    seen: Result<(String, Option<f64>)>,
}

/// What each sample changed for a user, and how long its transition took.
fn summary(release: &str, samples: &[Sample], told: &BTreeMap<usize, Told>) -> String {
    let title = format!("{} samples on Linux {release}", told.len());
    let mut text = format!("{}\n", style(title).bold());
    for (nr, told) in told {
        let (effect, took) = match &told.seen {
            Ok((effect, took)) => (effect.as_str(), *took),
            Err(error) => (error::unfit(error).unwrap_or("failed"), None),
        };
        let took = took.map(Duration::from_secs_f64);
        let took = took.map_or(String::new(), |took| format!(" (transition {took:.1?})"));
        let (stem, took) = (style(&samples[*nr].stem).bold(), style(took).dim());
        text += &format!("  {stem}\n    {effect}{took}\n");
    }
    text
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The machine of the livepatch callbacks: enumerated, and walked on the kernel that runs.
//!
//! ```text
//! lifecycle                     what there is, and on how much of it each invariant was checked
//! lifecycle tour FILE [PREFIX]  walks every edge, and compares what it saw with FILE, from which the book draws the map;
//!                               with livepatches that have PREFIX before their names
//! lifecycle random STEPS SEED   walks at random
//! ```

mod edge;
mod graph;
mod invariants;
mod machine;
mod map;
mod transition;
mod walk;
mod wanted;
mod world;

use std::env;
use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use graph::Graph;
use walk::Walker;

fn main() -> Result<()> {
    let graph = graph::enumerate()?;
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => print!("{}", graph.summary()),
        ["tour", file, ref prefix @ ..] if prefix.len() < 2 => {
            let prefix = prefix.first().unwrap_or(&"");
            let logs = walk(&graph, graph.tour().into_iter(), prefix)?;
            let write = env::var_os("KLP_UPDATE_EXPECTED").is_some_and(|value| value == "1");
            map::keep(&graph, &logs, Path::new(file), write)?;
        }
        ["random", steps, seed] => {
            let steps = steps.parse().context("STEPS is a number")?;
            let seed = seed.parse().context("SEED is a number")?;
            println!("seed {seed}");
            walk(&graph, random(&graph, seed).take(steps), "")
                .with_context(|| format!("a random walk by the seed {seed}"))?;
        }
        _ => bail!("usage: lifecycle [tour FILE [PREFIX] | random STEPS SEED]"),
    }
    Ok(())
}

/// Takes the steps, goes home, and tells what it was.
fn walk(graph: &Graph, ways: impl Iterator<Item = usize>, prefix: &str) -> Result<map::Logs> {
    let modules = env::var_os("KLP_MODULES_DIR")
        .context("KLP_MODULES_DIR names the folder with lifecycle_*.ko")?;
    let mut walker = Walker::new(graph, Path::new(&modules), prefix)?;
    let (start, pinned) = (Instant::now(), walker.pinned());
    let mut logs = map::Logs::new();
    let mut steps = 0;
    for way in ways {
        let at = walker.at();
        logs.insert((at, way), walker.step(way)?);
        steps += 1;
    }
    walker.home()?;
    println!(
        "{steps} steps over {} of {} edges in {} s, {} modules pinned",
        logs.len(),
        graph.edges(),
        start.elapsed().as_secs(),
        walker.pinned() - pinned
    );
    Ok(logs)
}

/// A walk that `seed` chooses.
fn random(graph: &Graph, seed: u64) -> impl Iterator<Item = usize> + '_ {
    let (mut at, mut random) = (0_usize, fastrand::Rng::with_seed(seed));
    std::iter::from_fn(move || {
        let ways = &graph.ways[at];
        let way = random.usize(..ways.len());
        at = ways[way].to;
        Some(way)
    })
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The graph as the book's page reads it, with the log of each edge as the kernel gave it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

use crate::graph::Graph;
use crate::invariants::ALL;
use crate::world::Action;
use crate::world::Module;
use crate::world::State;
use crate::world::Target;
use crate::world::Task;
use crate::world::ALPHA;
use crate::world::BETA;

/// By state and way, the lines that the kernel logged.
pub type Logs = BTreeMap<(usize, usize), Vec<String>>;

/// The action, the state that it leads to, the lines of its log, its errno, and the livepatch whose module stays.
type Way = (usize, usize, Vec<usize>, &'static str, Option<u8>);

/// Per object: None where the livepatch has it not, else whether it is patched and keeps a state.
type Livepatch = (&'static str, [Option<(bool, bool)>; 3]);

#[derive(Serialize)]
struct Map {
    /// How many edges prove each rule.
    rules: BTreeMap<&'static str, usize>,
    actions: Vec<(String, String)>,
    lines: Vec<String>,
    states: Vec<Shown>,
    ways: Vec<Vec<Way>>,
}

/// Targets, livepatches, the parked task, the transition, and what a new call of each target's function runs.
#[derive(Serialize)]
struct Shown(
    [bool; 2],
    [Livepatch; 2],
    &'static str,
    String,
    [&'static str; 2],
);

fn shown(state: &State) -> Shown {
    let livepatch = |patch: usize| {
        let own = &state.patches[patch];
        let transition = state.transition.filter(|(p, _)| *p as usize == patch);
        let word = match (own.module, transition) {
            (Module::Absent, _) => "not loaded",
            (Module::Idle, _) => "loaded, and not in force",
            (_, Some((_, Target::Patched))) => "being enabled",
            (_, Some(_)) => "being disabled",
            _ => "enabled",
        };
        (
            word,
            own.objects
                .map(|o| (o.listed || o.slot).then_some((o.patched, o.slot))),
        )
    };
    let task = match state.task {
        Task::Nowhere => "",
        Task::Original => "the original",
        Task::In(patch) => patch.name(),
        Task::Stale => "a module that stays for ever",
    };
    let transition = state
        .transition
        .map_or(String::new(), |(p, t)| format!("{} {}", t.word(), p.name()));
    let answers = [ALPHA, BETA].map(|target| match state.answers(target) {
        _ if !state.targets[target] => "",
        Some(patch) => patch.name(),
        None => "the original",
    });
    Shown(
        [ALPHA, BETA].map(|t| state.targets[t]),
        [0, 1].map(livepatch),
        task,
        transition,
        answers,
    )
}

/// The place of `what` in `all`, where it is put if it is not there.
fn place<T: PartialEq>(all: &mut Vec<T>, what: T) -> usize {
    all.iter()
        .position(|other| *other == what)
        .unwrap_or_else(|| {
            all.push(what);
            all.len() - 1
        })
}

/// What `logs` make of the graph; a line a part, so that a difference can be read.
fn text(graph: &Graph, logs: &Logs) -> Result<String> {
    let mut rules = BTreeMap::new();
    for (invariant, checked) in ALL.iter().zip(graph.checked) {
        *rules.entry(invariant.rule).or_default() += checked;
    }
    rules.remove("");
    let (mut actions, mut lines, mut ways): (Vec<Action>, _, Vec<_>) =
        (Vec::new(), Vec::new(), Vec::new());
    for (at, all) in graph.ways.iter().enumerate() {
        let mut found: Vec<Way> = Vec::new();
        for (nr, way) in all.iter().enumerate() {
            let log = logs
                .get(&(at, nr))
                .context("the tour has left an edge out")?;
            let log = log
                .iter()
                .map(|line| place(&mut lines, line.clone()))
                .collect();
            let pinned = way.shown.pinned.map(|p| p as u8);
            found.push((
                place(&mut actions, way.action),
                way.to,
                log,
                way.shown.errno.unwrap_or(""),
                pinned,
            ));
        }
        ways.push(found);
    }
    let map = Map {
        rules,
        actions: actions.iter().map(|a| (a.word(), a.to_string())).collect(),
        lines,
        states: graph.states.iter().map(shown).collect(),
        ways,
    };
    let text = serde_json::to_string(&map).context("writing the map")?;
    // Lines of a length that a person and git can look at.
    Ok(text.replace("]],", "]],\n") + "\n")
}

/// Compares the map with `file`, or writes it there.
pub fn keep(graph: &Graph, logs: &Logs, file: &Path, write: bool) -> Result<()> {
    let text = text(graph, logs)?;
    if write {
        return fs::write(file, text).with_context(|| format!("writing {}", file.display()));
    }
    let kept = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let differs = kept
        .lines()
        .zip(text.lines())
        .find(|(kept, seen)| kept != seen);
    ensure!(
        kept == text,
        "{} is not what the tour saw (KLP_UPDATE_EXPECTED=1 writes it): {differs:?}",
        file.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::enumerate;

    /// What the tour has recorded is what the machine says: without a kernel, so that neither changes alone.
    #[test]
    fn the_kept_map_is_that_of_the_machine() {
        let graph = enumerate().unwrap();
        let mut logs = Logs::new();
        for (at, ways) in graph.ways.iter().enumerate() {
            for (nr, way) in ways.iter().enumerate() {
                logs.insert((at, nr), way.shown.log.clone());
            }
        }
        let file = "../../selftests/expected/lifecycle.json";
        keep(&graph, &logs, Path::new(file), false).unwrap();
        logs.entry((0, 0)).or_default().push("other".to_owned());
        assert!(keep(&graph, &logs, Path::new(file), false).is_err());
    }
}

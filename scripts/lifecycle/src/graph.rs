// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All states and edges of the machine, with every invariant checked on them, and ways through them.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use anyhow::bail;
use anyhow::Result;
use stateright::Checker;
use stateright::Model;
use stateright::Property;
use stateright::StateRecorder;

use crate::edge::Edge;
use crate::invariants::Check;
use crate::invariants::ALL;
use crate::machine::step;
use crate::world::actions;
use crate::world::Action;
use crate::world::Shown;
use crate::world::State;

/// The machine as stateright sees it; counts on how many states or edges each invariant had something to say.
#[derive(Default)]
struct World {
    planted: &'static str,
    checked: [AtomicUsize; ALL.len()],
}

/// Does the `I`-th invariant hold in `state`, or on each edge out of it?
fn holds<const I: usize>(world: &World, state: &State) -> bool {
    let count = |answer: Option<bool>| {
        world.checked[I].fetch_add(answer.is_some().into(), Ordering::Relaxed);
        answer.unwrap_or(true)
    };
    match ALL[I].check {
        Check::State(check) => count(check(state)),
        Check::Edge(check) => actions(state).into_iter().all(|action| {
            let (shown, to) = step(state, action, world.planted);
            count(check(&Edge {
                from: state,
                action,
                shown: &shown,
                to: &to,
            }))
        }),
    }
}

macro_rules! conditions {
    ($($i:literal)*) => { [$(holds::<$i>),*] };
}

const CONDITIONS: [fn(&World, &State) -> bool; ALL.len()] =
    conditions!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, into: &mut Vec<Action>) {
        into.extend(actions(state));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(step(state, action, self.planted).1)
    }

    fn properties(&self) -> Vec<Property<World>> {
        ALL.iter()
            .zip(CONDITIONS)
            .map(|(invariant, holds)| Property::always(invariant.name, holds))
            .collect()
    }
}

/// An action in a state, and what it leads to.
#[derive(Clone, Debug)]
pub struct Way {
    pub action: Action,
    pub shown: Shown,
    pub to: usize,
}

pub struct Graph {
    /// The first one is that in which nothing is loaded.
    pub states: Vec<State>,
    pub ways: Vec<Vec<Way>>,
    /// On how many states or edges each invariant was checked.
    pub checked: [usize; ALL.len()],
}

/// The states that stateright reaches; an invariant that does not hold is an error.
pub fn enumerate() -> Result<Graph> {
    let (recorder, found) = StateRecorder::new_with_accessor();
    let checker = World::default()
        .checker()
        .visitor(recorder)
        .spawn_bfs()
        .join();
    if let Some((name, path)) = checker.discoveries().into_iter().next() {
        bail!("{name}: does not hold after {:?}", path.into_actions());
    }
    // In an order that is the same each time; the state in which nothing is there is the least.
    let mut states = found();
    states.sort();
    let index: BTreeMap<&State, usize> = states.iter().zip(0..).collect();
    let ways = states
        .iter()
        .map(|state| {
            let way = |action| {
                let (shown, to) = step(state, action, "");
                let to = index[&to];
                Way { action, shown, to }
            };
            actions(state).into_iter().map(way).collect()
        })
        .collect();
    let checked = std::array::from_fn(|i| checker.model().checked[i].load(Ordering::Relaxed));
    Ok(Graph {
        states,
        ways,
        checked,
    })
}

impl Graph {
    pub fn edges(&self) -> usize {
        self.ways.iter().map(Vec::len).sum()
    }

    /// The shortest way from `from` to a state that `wanted` takes, as the places of the actions.
    pub fn path(&self, from: usize, wanted: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
        let mut came: Vec<Option<(usize, usize)>> = vec![None; self.states.len()];
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            if wanted(at) {
                let (mut path, mut at) = (Vec::new(), at);
                while let Some((before, way)) = came[at].filter(|_| at != from) {
                    path.push(way);
                    at = before;
                }
                path.reverse();
                return Some(path);
            }
            for (nr, way) in self.ways[at].iter().enumerate() {
                if way.to != from && came[way.to].is_none() {
                    came[way.to] = Some((at, nr));
                    queue.push_back(way.to);
                }
            }
        }
        None
    }

    /// A walk from the first state over every edge: always to the nearest one that is left.
    pub fn tour(&self) -> Vec<usize> {
        let mut left: Vec<Vec<bool>> = self.ways.iter().map(|w| vec![true; w.len()]).collect();
        let (mut at, mut tour) = (0, Vec::new());
        loop {
            let has_left = |state: usize| left[state].contains(&true);
            let Some(mut path) = self.path(at, has_left) else {
                return tour;
            };
            let end = path.iter().fold(at, |at, way| self.ways[at][*way].to);
            path.extend(left[end].iter().position(|left| *left));
            for way in path {
                left[at][way] = false;
                at = self.ways[at][way].to;
                tour.push(way);
            }
        }
    }

    /// What was enumerated, and on how much each invariant was checked.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "{} states, {} edges, a tour of {} steps\n",
            self.states.len(),
            self.edges(),
            self.tour().len()
        );
        for (invariant, checked) in ALL.iter().zip(self.checked) {
            let of = match invariant.check {
                Check::State(_) => "states",
                Check::Edge(_) => "edges",
            };
            let _ = writeln!(
                text,
                "{checked:5} {of}  {:3} {}",
                invariant.rule, invariant.name
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_holds_and_has_something_to_say() {
        let graph = enumerate().unwrap();
        for (invariant, checked) in ALL.iter().zip(graph.checked) {
            assert!(checked > 0, "{} was never checked", invariant.name);
        }
    }

    #[test]
    fn every_state_leads_back_to_the_first() {
        let graph = enumerate().unwrap();
        for state in 0..graph.states.len() {
            assert!(
                graph.path(state, |to| to == 0).is_some(),
                "{:?}",
                graph.states[state]
            );
        }
    }

    #[test]
    fn the_tour_walks_every_edge() {
        let graph = enumerate().unwrap();
        let mut walked = std::collections::BTreeSet::new();
        graph.tour().into_iter().fold(0, |at, way| {
            walked.insert((at, way));
            graph.ways[at][way].to
        });
        assert_eq!(walked.len(), graph.edges());
    }

    #[test]
    fn every_invariant_is_broken_by_the_error_planted_for_it() {
        for (i, invariant) in ALL.iter().enumerate() {
            let world = World {
                planted: invariant.planted,
                ..World::default()
            };
            // One that breaks more than one is found by whichever comes first: look for this one alone.
            let (recorder, found) = StateRecorder::new_with_accessor();
            let checker = world.checker().visitor(recorder).target_max_depth(6);
            let checker = checker.spawn_bfs().join();
            let broken = |state: &State| !CONDITIONS[i](checker.model(), state);
            assert!(
                found().iter().any(broken),
                "{:?} does not break: {}",
                invariant.planted,
                invariant.name
            );
        }
    }
}

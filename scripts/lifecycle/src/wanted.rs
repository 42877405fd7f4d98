// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a walk is to see on the kernel.

use crate::world::Module;
use crate::world::Patch;
use crate::world::State;
use crate::world::Task;
use crate::world::ALPHA;
use crate::world::BETA;
use crate::world::OBJECTS;
use crate::world::PATCHES;

pub fn compare(differs: &mut Vec<String>, what: &str, wanted: &str, seen: &str) {
    if wanted != seen {
        differs.push(format!("{what}: wanted {wanted}, seen {seen}"));
    }
}

/// Is it a line of the core or of our modules, and not one that only tells how time passes, or what the loader thinks of them?
pub fn is_of_the_machine(line: &str) -> bool {
    let passes = ["klp_try_switch_task: ", "signaling remaining tasks"];
    let loader = [
        ": loading out-of-tree",
        ": module verification failed",
        ": tainting kernel",
    ];
    match line.split_once(": ") {
        Some(("livepatch", said)) => !passes.iter().any(|word| said.starts_with(word)),
        _ => line.starts_with("lifecycle_") && !loader.iter().any(|word| line.contains(word)),
    }
}

/// What `seen` is to give in that state.
pub fn wanted(state: &State) -> Vec<(String, String)> {
    let mut wanted = Vec::new();
    let digit = |on: bool| if on { "1" } else { "0" }.to_owned();
    let none = || "none".to_owned();
    for patch in PATCHES {
        let (own, livepatch) = (patch.name(), &state.patches[patch as usize]);
        let place = state.list.iter().position(|p| *p == patch);
        let live = |value: String| if place.is_some() { value } else { none() };
        let users = match livepatch.module {
            Module::Absent => none(),
            Module::Idle => digit(false),
            Module::Live => digit(true),
        };
        wanted.push((format!("users of {own}"), users));
        let transition = state.transition.is_some_and(|(p, _)| p == patch);
        wanted.push((format!("{own}/enabled"), live(digit(livepatch.enabled))));
        wanted.push((format!("{own}/transition"), live(digit(transition))));
        wanted.push((
            format!("{own}/replace"),
            live(digit(patch == Patch::Cumulative)),
        ));
        wanted.push((
            format!("{own}/stack_order"),
            place.map_or_else(none, |p| (p + 1).to_string()),
        ));
        for (name, obj) in OBJECTS.iter().zip(livepatch.objects) {
            let patched = if obj.listed {
                digit(obj.patched)
            } else {
                none()
            };
            wanted.push((format!("{own}/{name}/patched"), patched));
        }
    }
    for target in [ALPHA, BETA] {
        let answer = state
            .answers(target)
            .map_or(0, |p| 1 + p as usize)
            .to_string();
        let answer = if state.targets[target] {
            answer
        } else {
            none()
        };
        wanted.push((format!("/proc/{}", OBJECTS[target]), answer));
    }
    let parked = match state.task {
        Task::Nowhere => "none",
        Task::Original => "the original",
        Task::In(patch) => patch.name(),
        Task::Stale => "a pinned module",
    };
    wanted.push(("the parked task".to_owned(), parked.to_owned()));
    wanted
}

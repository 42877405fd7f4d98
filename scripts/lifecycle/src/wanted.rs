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

pub const SYSFS: &str = "/sys/kernel/livepatch";

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

/// A file of the kernel's, by a name for people, and what it is to hold.
pub type Wanted = (String, String, String);

/// What sysfs and the targets are to show in that state; `name` is that of a livepatch's present copy.
pub fn wanted(state: &State, name: impl Fn(Patch) -> String) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let digit = |on: bool| if on { "1" } else { "0" }.to_owned();
    let none = || "none".to_owned();
    for patch in PATCHES {
        let (own, livepatch) = (patch.name(), &state.patches[patch as usize]);
        let place = state.list.iter().position(|p| *p == patch);
        let users = match livepatch.module {
            Module::Absent => none(),
            Module::Idle => digit(false),
            Module::Live => digit(true),
        };
        let refcnt = format!("/sys/module/{}/refcnt", name(patch));
        wanted.push((format!("users of {own}"), refcnt, users));
        let transition = state.transition.is_some_and(|(p, _)| p == patch);
        let mut shows = |file: &str, value: Option<String>| {
            let path = format!("{SYSFS}/{}/{file}", name(patch));
            wanted.push((format!("{own}/{file}"), path, value.unwrap_or_else(none)));
        };
        let live = |value: String| place.is_some().then_some(value);
        shows("enabled", live(digit(livepatch.enabled)));
        shows("transition", live(digit(transition)));
        shows("replace", live(digit(patch == Patch::Cumulative)));
        shows("stack_order", place.map(|p| (p + 1).to_string()));
        for (object, obj) in OBJECTS.iter().zip(livepatch.objects) {
            let patched = obj.listed.then(|| digit(obj.patched));
            shows(&format!("{object}/patched"), patched);
        }
    }
    for target in [ALPHA, BETA] {
        let answer = state.answers(target).map_or(0, |p| 1 + p as usize);
        let answer = state.targets[target].then(|| answer.to_string());
        let path = format!("/proc/{}", OBJECTS[target]);
        wanted.push((path.clone(), path, answer.unwrap_or_else(none)));
    }
    wanted
}

/// Where the parked task is to sleep.
pub fn parked(state: &State) -> &'static str {
    match state.task {
        Task::Nowhere => "none",
        Task::Original => "the original",
        Task::In(patch) => patch.name(),
        Task::Stale => "a pinned module",
    }
}

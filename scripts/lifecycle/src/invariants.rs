// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What must hold in every state and on every edge, whatever the machine is made of: the rules of the kernel's page on
//! callbacks (R1 to R14), and what holds the machine together.

use crate::edge::is_consistent;
use crate::edge::Callback;
use crate::edge::Edge;
use crate::world::Action;
use crate::world::Patch;
use crate::world::Ran;
use crate::world::State;
use crate::world::Target;
use crate::world::Task;
use crate::world::BETA;
use crate::world::OBJECTS;
use crate::world::VMLINUX;

pub enum Check {
    State(fn(&State) -> Option<bool>),
    Edge(fn(&Edge<'_>) -> Option<bool>),
}

/// None of a check: it has nothing to say here.
pub struct Invariant {
    pub name: &'static str,
    /// `R7`; empty for what no rule says.
    pub rule: &'static str,
    pub check: Check,
    /// The error in the machine that breaks it.
    #[cfg_attr(not(test), allow(dead_code))]
    pub planted: &'static str,
}

const fn on_edges(
    rule: &'static str,
    name: &'static str,
    planted: &'static str,
    check: fn(&Edge<'_>) -> Option<bool>,
) -> Invariant {
    Invariant {
        name,
        rule,
        planted,
        check: Check::Edge(check),
    }
}

const fn on_states(
    name: &'static str,
    planted: &'static str,
    check: fn(&State) -> Option<bool>,
) -> Invariant {
    Invariant {
        name,
        rule: "",
        planted,
        check: Check::State(check),
    }
}

pub const ALL: [Invariant; 20] = [
    on_edges(
        "R1",
        "pre_ callbacks run before their transition starts, post_ callbacks when it is complete",
        "a callback after the transition has started",
        |e| {
            let all = e.callbacks();
            let mut own = all.iter().filter_map(|c| {
                let (starts, completes) = (
                    e.transition(c.patch, "starting"),
                    e.transition(c.patch, "completing"),
                );
                starts.or(completes)?;
                Some(match c.word.starts_with("pre_") {
                    true => starts.or(completes).is_some_and(|at| c.at < at),
                    false => completes.is_some_and(|at| c.at > at),
                })
            });
            let first = own.next()?;
            Some(first && own.all(|ok| ok))
        },
    ),
    on_edges(
        "R2",
        "an object without callbacks is patched as others are",
        "a nop has callbacks",
        |e| {
            let has = |s: &State| s.patches[Patch::Cumulative as usize].objects[BETA].patched;
            has(e.to).then(|| e.of(Patch::Cumulative, BETA).is_empty())
        },
    ),
    on_edges(
        "R3",
        "pre_unpatch follows post_patch, post_unpatch follows pre_patch",
        "pre_unpatch without post_patch",
        |e| {
            let all = e.callbacks();
            let mut ran = [0, 1].map(|p| e.from.patches[p].objects.map(|o| o.ran));
            for c in all.iter().filter(|c| !c.fails) {
                let ran = &mut ran[c.patch as usize][c.object];
                *ran = match (*ran, c.word) {
                    (Ran::Nothing, "pre_patch") => Ran::PrePatch,
                    (Ran::PrePatch | Ran::PreUnpatch, "post_patch") => Ran::PostPatch,
                    (Ran::PostPatch, "pre_unpatch") => Ran::PreUnpatch,
                    (Ran::PrePatch | Ran::PreUnpatch, "post_unpatch") => Ran::Nothing,
                    _ => return Some(false),
                };
            }
            (!all.is_empty()).then_some(true)
        },
    ),
    on_edges(
        "R4",
        "vmlinux has its callbacks always, a target only while it is loaded",
        "callbacks of an object that is not loaded",
        |e| {
            let all = e.callbacks();
            let comes = |o| matches!(e.action, Action::InsmodTarget(t, _) | Action::RmmodTarget(t) if t == o);
            let may = |c: &Callback<'_>| {
                c.object == VMLINUX || e.from.targets[c.object] || comes(c.object)
            };
            let whole = |c: &Callback<'_>| {
                comes(c.object)
                    || all
                        .iter()
                        .any(|v| v.patch == c.patch && v.object == VMLINUX)
            };
            (!all.is_empty()).then(|| all.iter().all(|c| may(c) && whole(c)))
        },
    ),
    on_edges(
        "R5",
        "a target that comes has its patch callbacks before its init, from each livepatch",
        "init of a target before the callbacks",
        |e| {
            let Action::InsmodTarget(target, None) = e.action else {
                return None;
            };
            let init = e.at(&format!("{}: init", OBJECTS[target]))?;
            let of = e.of_target(target)?;
            let whole = |p: &Patch| match e.from.transition {
                Some((t, _)) if t == *p => e.of(*p, target) == ["pre_patch"],
                _ => e.of(*p, target) == ["pre_patch", "post_patch"],
            };
            Some(of.iter().all(whole) && e.callbacks().iter().all(|c| c.at < init))
        },
    ),
    on_edges(
        "R6",
        "a target that goes has its unpatch callbacks after its exit, and only its own",
        "callbacks of the other objects when a target goes",
        |e| {
            let Action::RmmodTarget(target) = e.action else {
                return None;
            };
            let exit = e.at(&format!("{}: exit", OBJECTS[target]))?;
            let of = e.of_target(target)?;
            let last = |p: &Patch| e.of(*p, target).last() == Some(&"post_unpatch");
            let own = e
                .callbacks()
                .iter()
                .all(|c| c.object == target && c.at > exit);
            Some(own && of.iter().all(last))
        },
    ),
    on_edges(
        "R7",
        "a livepatch is refused with the errno of its pre_patch",
        "a failed pre_patch is no error",
        |e| {
            let refused = || e.is_refused_by_pre_patch();
            matches!(e.action, Action::Insmod(_, Some(_))).then(refused)
        },
    ),
    on_edges(
        "R8",
        "a target is refused with the errno of pre_patch, and the livepatches stay",
        "a refused target stays patched by others",
        |e| {
            let refused = || e.is_refused_by_pre_patch();
            matches!(e.action, Action::InsmodTarget(_, Some(_))).then(refused)
        },
    ),
    on_edges(
        "R9",
        "after a failed pre_patch no other callback of that object runs",
        "post_unpatch after a failed pre_patch",
        |e| {
            let all = e.callbacks();
            let failed = all.iter().find(|c| c.fails)?;
            let same = |c: &&Callback<'_>| c.patch == failed.patch && c.object == failed.object;
            Some(all.iter().filter(same).count() == 1)
        },
    ),
    on_edges(
        "R10",
        "a reversed patching runs post_unpatch, and no pre_unpatch",
        "pre_unpatch in a reversed patching",
        |e| {
            let Action::Enabled(patch, false) = e.action else {
                return None;
            };
            (e.from.transition == Some((patch, Target::Patched))).then(|| {
                let words: Vec<_> = e.callbacks().iter().map(|c| c.word.to_owned()).collect();
                words.iter().all(|w| w == "post_unpatch") && e.of(patch, VMLINUX).len() == 1
            })
        },
    ),
    on_edges(
        "R11",
        "objects before the one that failed get post_unpatch alone",
        "pre_unpatch of what was never enabled",
        |e| {
            let Action::Insmod(patch, Some(object)) = e.action else {
                return None;
            };
            (object != VMLINUX).then(|| {
                let loaded = |o: &usize| *o == VMLINUX || e.from.targets[*o];
                (0..object)
                    .filter(loaded)
                    .all(|o| e.of(patch, o) == ["pre_patch", "post_unpatch"])
            })
        },
    ),
    on_edges(
        "R12",
        "init and exit of a livepatch run when it is loaded and removed, and never else",
        "exit runs when a livepatch is disabled",
        |e| {
            let own = |patch: Patch| {
                ["init", "exit"].map(|w| e.at(&format!("{}: {w}", patch.name())).is_some())
            };
            match e.action {
                Action::Insmod(p, _) => Some(own(p) == [true, !e.is_done()]),
                Action::Rmmod(p) => Some(own(p) == [false, e.is_done()]),
                Action::Enabled(p, _) | Action::Force(p) => {
                    e.is_done().then(|| own(p) == [false, false])
                }
                _ => None,
            }
        },
    ),
    on_edges(
        "R13",
        "a replaced livepatch has no callbacks, and keeps its states",
        "a replaced livepatch is reverted",
        |e| {
            e.replaces_plain().then(|| {
                let (old, new) = (&e.from.patches[0], &e.to.patches[0]);
                let kept = (0..3).all(|o| old.objects[o].slot == new.objects[o].slot);
                let silent = e.callbacks().iter().all(|c| c.patch == Patch::Cumulative);
                silent && (kept || e.shown.pinned == Some(Patch::Plain))
            })
        },
    ),
    on_edges(
        "R13",
        "a replaced livepatch's states are freed with its module",
        "a replaced state is not freed",
        |e| {
            let Action::Rmmod(patch) = e.action else {
                return None;
            };
            let slots: Vec<_> = (0..3)
                .filter(|o| e.from.patches[patch as usize].objects[*o].slot)
                .collect();
            let freed = |o: &usize| {
                e.at(&format!("{}: freed: {}", patch.name(), OBJECTS[*o]))
                    .is_some()
            };
            (e.is_done() && !slots.is_empty())
                .then(|| slots.iter().all(freed) && e.callbacks().is_empty())
        },
    ),
    on_edges(
        "R14",
        "a forced transition and a reversed unpatching leave all consistent",
        "no post_patch",
        |e| {
            let reverses = |p| e.from.transition == Some((p, Target::Unpatched));
            match e.action {
                Action::Force(_) if e.is_done() => Some(is_consistent(e.to)),
                Action::Enabled(p, true) if reverses(p) => Some(is_consistent(e.to)),
                _ => None,
            }
        },
    ),
    on_edges(
        "",
        "who is refused has changed nothing",
        "a refused write is done",
        |e| (!e.is_done()).then(|| e.from == e.to),
    ),
    on_edges(
        "",
        "a forced transition pins the module that it removes, and no other",
        "a forced module goes",
        |e| {
            let Action::Force(patch) = e.action else {
                return None;
            };
            e.is_done().then(|| {
                let pinned = match e.from.transition {
                    Some((_, Target::Unpatched)) => Some(patch),
                    _ => Some(Patch::Plain).filter(|_| e.replaces_plain()),
                };
                e.shown.pinned == pinned
            })
        },
    ),
    on_states(
        "the slot is empty exactly when the object is unpatched",
        "post_unpatch leaves the slot full",
        |s| {
            let stateful = |p: Patch| {
                (0..3)
                    .filter(move |o| p.is_stateful(*o))
                    .map(move |o| s.patches[p as usize].objects[o])
            };
            let mut all = s.list.iter().flat_map(|p| stateful(*p)).peekable();
            all.peek()?;
            Some(all.all(|obj| obj.slot == obj.patched))
        },
    ),
    on_states(
        "an object is patched exactly when it is loaded",
        "patched after its module has gone",
        |s| {
            let listed = |p: Patch| (0..3).map(move |o| (o, s.patches[p as usize].objects[o]));
            let mut all = s
                .list
                .iter()
                .flat_map(|p| listed(*p))
                .filter(|(_, obj)| obj.listed)
                .peekable();
            all.peek()?;
            Some(all.all(|(o, obj)| obj.patched == (o == VMLINUX || s.targets[o])))
        },
    ),
    on_states(
        "a transition is held up by a parked task, and by nothing else",
        "a transition outlives its task",
        |s| {
            s.transition
                .map(|_| matches!(s.task, Task::Original | Task::In(_)))
        },
    ),
];

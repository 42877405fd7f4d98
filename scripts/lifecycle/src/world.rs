// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The world of the machine: two livepatches, two targets, `vmlinux`, and a task that can be parked.

use std::fmt;

use serde::Serialize;

/// A livepatch. `Plain` patches all three objects and lives beside others; `Cumulative` replaces, has a state, and leaves out
/// `lifecycle_beta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Patch {
    Plain,
    Cumulative,
}

pub const PATCHES: [Patch; 2] = [Patch::Plain, Patch::Cumulative];

impl Patch {
    pub fn name(self) -> &'static str {
        ["lifecycle_plain", "lifecycle_cumulative"][self as usize]
    }

    /// The objects that it patches itself, the others it may only get for a replaced livepatch.
    pub fn patches(self, object: usize) -> bool {
        self == Patch::Plain || object != BETA
    }

    /// The objects with a `StatefulCallbacks` of klp, whose state its `Drop` tells of.
    pub fn is_stateful(self, object: usize) -> bool {
        object == ALPHA || object == VMLINUX && self == Patch::Plain
    }
}

pub const VMLINUX: usize = 0;
pub const ALPHA: usize = 1;
pub const BETA: usize = 2;
pub const OBJECTS: [&str; 3] = ["vmlinux", "lifecycle_alpha", "lifecycle_beta"];

/// The last callback that ran since pre_patch. Nothing of the kernel's: what the author of the callbacks can know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Ran {
    #[default]
    Nothing,
    PrePatch,
    PostPatch,
    PreUnpatch,
}

/// `struct klp_object`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object {
    /// It is in the livepatch's list, by itself or for a replaced one (`dynamic`).
    pub listed: bool,
    /// `obj->mod` is set; always for `vmlinux`.
    pub loaded: bool,
    pub patched: bool,
    pub post_unpatch_enabled: bool,
    /// klp's slot is full.
    pub slot: bool,
    pub ran: Ran,
}

/// The module of a livepatch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Module {
    /// Also when it was pinned by a forced transition: a copy by another name takes its place.
    #[default]
    Absent,
    /// Loaded, and the core has forgotten it.
    Idle,
    Live,
}

/// `struct klp_patch`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Livepatch {
    pub module: Module,
    pub enabled: bool,
    pub forced: bool,
    pub objects: [Object; 3],
}

/// `klp_target_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Target {
    Unpatched,
    Patched,
}

impl Target {
    pub fn word(self) -> &'static str {
        ["unpatching", "patching"][self as usize]
    }
}

/// Where the one task sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Task {
    #[default]
    Nowhere,
    Original,
    In(Patch),
    /// In the replacement of a livepatch that a forced transition has removed; its module stays.
    Stale,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    /// By `ALPHA` and `BETA`.
    pub targets: [bool; 3],
    pub patches: [Livepatch; 2],
    /// `klp_patches`.
    pub list: Vec<Patch>,
    /// `klp_transition_patch` and `klp_target_state`.
    pub transition: Option<(Patch, Target)>,
    pub task: Task,
}

impl State {
    /// `ops->func_stack` of the target's function, the oldest first: both `__klp_enable_patch()` and `klp_module_coming()`
    /// patch in the order of `klp_patches`.
    pub fn func_stack(&self, object: usize) -> Vec<Patch> {
        let patched = |p: &&Patch| self.patches[**p as usize].objects[object].patched;
        self.list.iter().filter(patched).copied().collect()
    }

    /// `patch.c`: `klp_ftrace_handler()`, for a task that has switched.
    pub fn answers(&self, object: usize) -> Option<Patch> {
        let mut stack = self.func_stack(object);
        let leaves = |p: &Patch| self.transition == Some((*p, Target::Unpatched));
        if stack.last().is_some_and(leaves) {
            stack.pop();
        }
        // A nop stands for the original.
        stack.last().copied().filter(|p| p.patches(object))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// With the object whose pre_patch fails.
    Insmod(Patch, Option<usize>),
    Rmmod(Patch),
    /// With the livepatch whose pre_patch fails.
    InsmodTarget(usize, Option<Patch>),
    RmmodTarget(usize),
    /// Write to `enabled`.
    Enabled(Patch, bool),
    Force(Patch),
    Park,
    LetGo,
}

/// What an action shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub errno: Option<&'static str>,
    pub log: Vec<String>,
    /// The core said of the parked task that it sleeps on the function.
    pub stalls: bool,
    /// The module that stays for ever.
    pub pinned: Option<Patch>,
}

/// As a person types it.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sysfs = "/sys/kernel/livepatch";
        match *self {
            Action::Insmod(patch, None) => write!(f, "insmod {}.ko", patch.name()),
            Action::Insmod(patch, Some(object)) => {
                write!(f, "insmod {}.ko fail={}", patch.name(), OBJECTS[object])
            }
            Action::Rmmod(patch) => write!(f, "rmmod {}", patch.name()),
            Action::InsmodTarget(target, None) => write!(f, "insmod {}.ko", OBJECTS[target]),
            Action::InsmodTarget(target, Some(patch)) => {
                let (name, fail) = (
                    OBJECTS[target],
                    format!("/sys/module/{}/parameters/fail", patch.name()),
                );
                write!(
                    f,
                    "echo {name} > {fail}; insmod {name}.ko; echo none > {fail}"
                )
            }
            Action::RmmodTarget(target) => write!(f, "rmmod {}", OBJECTS[target]),
            Action::Enabled(patch, enabled) => {
                write!(
                    f,
                    "echo {} > {sysfs}/{}/enabled",
                    u8::from(enabled),
                    patch.name()
                )
            }
            Action::Force(patch) => write!(f, "echo 1 > {sysfs}/{}/force", patch.name()),
            Action::Park => write!(f, "echo N > {OPEN}; cat /proc/lifecycle_alpha_park &"),
            Action::LetGo => write!(f, "echo Y > {OPEN}; wait"),
        }
    }
}

impl Action {
    /// One word for it, in the address of the map's page.
    pub fn word(self) -> String {
        let short = |name: &'static str| name.trim_start_matches("lifecycle_");
        let patch = |p: Patch| short(p.name());
        match self {
            Action::Insmod(p, None) => format!("insmod-{}", patch(p)),
            Action::Insmod(p, Some(o)) => format!("insmod-{}-fail-{}", patch(p), short(OBJECTS[o])),
            Action::Rmmod(p) => format!("rmmod-{}", patch(p)),
            Action::InsmodTarget(o, None) => format!("insmod-{}", short(OBJECTS[o])),
            Action::InsmodTarget(o, Some(p)) => {
                format!("insmod-{}-fail-{}", short(OBJECTS[o]), patch(p))
            }
            Action::RmmodTarget(o) => format!("rmmod-{}", short(OBJECTS[o])),
            Action::Enabled(p, enabled) => format!("{}-{}", patch(p), u8::from(enabled)),
            Action::Force(p) => format!("{}-force", patch(p)),
            Action::Park => "park".to_owned(),
            Action::LetGo => "let-go".to_owned(),
        }
    }
}

/// The gate of the parked task.
pub const OPEN: &str = "/sys/module/lifecycle_alpha/parameters/open";

/// The actions that this world has in `state`.
pub fn actions(state: &State) -> Vec<Action> {
    let mut found = Vec::new();
    let idle = state.transition.is_none();
    for patch in PATCHES {
        match state.patches[patch as usize].module {
            Module::Absent => {
                found.push(Action::Insmod(patch, None));
                let has = |o: &usize| patch.patches(*o) && (*o == VMLINUX || state.targets[*o]);
                let fails = (0..3).filter(|o| idle && has(o));
                found.extend(fails.map(|object| Action::Insmod(patch, Some(object))));
            }
            Module::Idle => found.push(Action::Rmmod(patch)),
            Module::Live => {
                found.extend([
                    Action::Rmmod(patch),
                    Action::Enabled(patch, false),
                    Action::Force(patch),
                ]);
                // Of a livepatch below another, `klp_check_stack_func()` (`kernel/livepatch/transition.c`) looks for the one below
                // it, which is not there, and takes for it what lies before `struct klp_ops`: what comes of it is chance.
                let reverses = state.transition == Some((patch, Target::Unpatched));
                if !reverses || state.func_stack(ALPHA).last() == Some(&patch) {
                    found.push(Action::Enabled(patch, true));
                }
            }
        }
    }
    for target in [ALPHA, BETA] {
        if state.targets[target] {
            found.push(Action::RmmodTarget(target));
        } else {
            found.push(Action::InsmodTarget(target, None));
            let asked = state.list.iter().filter(|p| p.patches(target));
            found.extend(asked.map(|p| Action::InsmodTarget(target, Some(*p))));
        }
    }
    if state.task != Task::Nowhere {
        found.push(Action::LetGo);
    } else if state.targets[ALPHA] {
        found.push(Action::Park);
    }
    found
}

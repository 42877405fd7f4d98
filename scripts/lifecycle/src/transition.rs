// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The machine's transitions: `kernel/livepatch/transition.c`.

use crate::machine::Machine;
use crate::world::Object;
use crate::world::Patch;
use crate::world::Ran;
use crate::world::Target;
use crate::world::Target::Patched;
use crate::world::Target::Unpatched;
use crate::world::Task::In;
use crate::world::Task::Original;
use crate::world::ALPHA;
use crate::world::VMLINUX;

impl Machine {
    /// `transition.c`: `klp_init_transition()`.
    pub fn klp_init_transition(&mut self, patch: Patch, target: Target) {
        self.s.transition = Some((patch, target));
        self.of(patch, format!("initializing {} transition", target.word()));
    }

    /// `transition.c`: `klp_start_transition()`.
    pub fn klp_start_transition(&mut self) {
        if let Some((patch, target)) = self.s.transition {
            self.of(patch, format!("starting {} transition", target.word()));
        }
    }

    /// `transition.c`: `klp_reverse_transition()`. The parked task has held up the transition that is being reversed, so it is where
    /// the new one wants it, and `klp_transition_work_fn()` completes.
    pub fn klp_reverse_transition(&mut self) {
        let Some((patch, old)) = self.s.transition else {
            return;
        };
        let new = if old == Patched { Unpatched } else { Patched };
        self.of(
            patch,
            format!("reversing transition from {} to {}", old.word(), new.word()),
        );
        self.s.patches[patch as usize].enabled = new == Patched;
        self.s.transition = Some((patch, new));
        if new == Unpatched && self.is_planted("pre_unpatch in a reversed patching") {
            self.callback(patch, VMLINUX, Ran::PreUnpatch);
        }
        self.klp_start_transition();
        self.klp_try_complete_transition(true);
    }

    /// `transition.c`: `klp_check_stack_func()` for the one function in which a task can be parked.
    fn is_on_stack(&self, patch: Patch, target: Target) -> bool {
        if !self.s.patches[patch as usize].objects[ALPHA].patched {
            return false;
        }
        let stack = self.s.func_stack(ALPHA);
        let below = stack
            .iter()
            .position(|p| *p == patch)
            .and_then(|at| at.checked_sub(1));
        match (target, below) {
            (Unpatched, _) => self.s.task == In(patch),
            (Patched, Some(below)) => self.s.task == In(stack[below]),
            (Patched, None) => self.s.task == Original,
        }
    }

    /// `transition.c`: `klp_try_complete_transition()`. All tasks but the parked one switch; `switched` says that it has, too.
    pub fn klp_try_complete_transition(&mut self, switched: bool) {
        let Some((patch, target)) = self.s.transition else {
            return;
        };
        if !switched && self.is_on_stack(patch, target) {
            self.shown.stalls = true;
            return;
        }
        self.klp_complete_transition();
        if !self.s.patches[patch as usize].enabled {
            self.klp_free_patch(patch);
        } else if patch == Patch::Cumulative {
            // `core.c`: `klp_free_replaced_patches_async()`.
            for old in self.s.list.clone().into_iter().take_while(|p| *p != patch) {
                self.klp_free_patch(old);
            }
        }
    }

    /// `transition.c`: `klp_complete_transition()`.
    pub fn klp_complete_transition(&mut self) {
        let Some((patch, target)) = self.s.transition else {
            return;
        };
        self.of(patch, format!("completing {} transition", target.word()));
        if patch == Patch::Cumulative && target == Patched {
            // `core.c`: `klp_unpatch_replaced_patches()`.
            for old in self.s.list.clone().into_iter().take_while(|p| *p != patch) {
                if self.is_planted("a replaced livepatch is reverted") {
                    self.post_unpatch(old, VMLINUX);
                }
                self.s.patches[old as usize].enabled = false;
                for obj in &mut self.s.patches[old as usize].objects {
                    obj.patched = false;
                }
            }
            // `core.c`: `klp_discard_nops()`.
            for object in self
                .objects(patch)
                .into_iter()
                .filter(|o| !patch.patches(*o))
            {
                *self.object(patch, object) = Object::default();
            }
        }
        if target == Unpatched {
            for object in self.objects(patch) {
                self.object(patch, object).patched = false;
            }
        }
        for object in self.objects(patch) {
            if !self.object(patch, object).loaded {
                continue;
            }
            match target {
                Patched if self.is_planted("no post_patch") => {}
                Patched => self.callback(patch, object, Ran::PostPatch),
                Unpatched => self.post_unpatch(patch, object),
            }
        }
        self.of(patch, format!("{} complete", target.word()));
        self.s.transition = None;
    }
}

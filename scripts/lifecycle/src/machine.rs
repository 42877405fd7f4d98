// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The machine of the callbacks as an executable specification: `kernel/livepatch/core.c` and `kernel/livepatch/transition.c`
//! in the words of the kernel.
//!
//! A step goes on until nothing moves by itself: a transition is over, or a parked task holds it up. Not in this world: a
//! livepatch whose states are refused, since `klp_is_patch_compatible()` (`kernel/livepatch/state.c`) lets both pass, and a
//! task of which it is chance whether it runs when the core looks at it.

use crate::world::Action;
use crate::world::Livepatch;
use crate::world::Module;
use crate::world::Object;
use crate::world::Patch;
use crate::world::Ran;
use crate::world::Shown;
use crate::world::State;
use crate::world::Target::Patched;
use crate::world::Target::Unpatched;
use crate::world::Task::In;
use crate::world::Task::Nowhere;
use crate::world::Task::Original;
use crate::world::Task::Stale;
use crate::world::ALPHA;
use crate::world::OBJECTS;
use crate::world::VMLINUX;

/// What `action` leads to. `planted` is an error that the tests put into the machine; empty for none.
pub fn step(state: &State, action: Action, planted: &'static str) -> (Shown, State) {
    let mut machine = Machine {
        s: state.clone(),
        shown: Shown::default(),
        planted,
    };
    if let Err(errno) = machine.act(action) {
        machine.shown.errno = Some(errno);
    }
    (machine.shown, machine.s)
}

pub struct Machine {
    pub s: State,
    pub shown: Shown,
    planted: &'static str,
}

type Result = std::result::Result<(), &'static str>;

/// What a pre_patch that fails says.
pub const REFUSED: &str = "ENODEV";

impl Machine {
    fn act(&mut self, action: Action) -> Result {
        match action {
            Action::Insmod(patch, fails) => self.klp_enable_patch(patch, fails),
            Action::Rmmod(patch) => self.rmmod(patch),
            Action::InsmodTarget(target, fails) => self.insmod_target(target, fails),
            Action::RmmodTarget(target) => self.rmmod_target(target),
            Action::Enabled(patch, enabled) => self.enabled_store(patch, enabled),
            Action::Force(patch) => self.force_store(patch),
            Action::Park => {
                self.s.task = self.s.answers(ALPHA).map_or(Original, In);
                Ok(())
            }
            Action::LetGo => {
                self.s.task = Nowhere;
                // `transition.c`: `klp_transition_work_fn()` comes again each second.
                if self.s.transition.is_some() && !self.is_planted("a transition outlives its task")
                {
                    self.klp_try_complete_transition(false);
                }
                Ok(())
            }
        }
    }

    pub fn is_planted(&self, what: &'static str) -> bool {
        self.planted == what
    }

    pub fn core(&mut self, line: String) {
        self.shown.log.push(format!("livepatch: {line}"));
    }

    /// The core, of a transition.
    pub fn of(&mut self, patch: Patch, line: String) {
        self.core(format!("'{}': {line}", patch.name()));
    }

    fn says(&mut self, patch: Patch, line: String) {
        self.shown.log.push(format!("{}: {line}", patch.name()));
    }

    pub fn object(&mut self, patch: Patch, object: usize) -> &mut Object {
        &mut self.s.patches[patch as usize].objects[object]
    }

    pub fn objects(&self, patch: Patch) -> Vec<usize> {
        let objects = &self.s.patches[patch as usize].objects;
        (0..3).filter(|o| objects[*o].listed).collect()
    }

    // ---- kernel/livepatch/core.h ----

    /// `core.h`: `klp_pre_patch_callback()`.
    fn pre_patch(&mut self, patch: Patch, object: usize, fails: bool) -> Result {
        let obj = self.object(patch, object);
        obj.post_unpatch_enabled = !fails;
        if !patch.patches(object) && !self.is_planted("a nop has callbacks") {
            return Ok(());
        }
        let name = OBJECTS[object];
        if fails {
            self.says(patch, format!("pre_patch: {name}: fails"));
            return Err(REFUSED);
        }
        let obj = self.object(patch, object);
        obj.slot = patch.is_stateful(object);
        obj.ran = Ran::PrePatch;
        self.says(patch, format!("pre_patch: {name}"));
        Ok(())
    }

    /// `core.h`: `klp_post_patch_callback()` and `klp_pre_unpatch_callback()`.
    pub fn callback(&mut self, patch: Patch, object: usize, ran: Ran) {
        if patch.patches(object) {
            self.object(patch, object).ran = ran;
            let word = if ran == Ran::PostPatch {
                "post_patch"
            } else {
                "pre_unpatch"
            };
            self.says(patch, format!("{word}: {}", OBJECTS[object]));
        }
    }

    /// `core.h`: `klp_post_unpatch_callback()`.
    pub fn post_unpatch(&mut self, patch: Patch, object: usize) {
        let obj = self.object(patch, object);
        let mut enabled = obj.post_unpatch_enabled;
        obj.post_unpatch_enabled = false;
        if self.is_planted("post_unpatch after a failed pre_patch") {
            enabled = true;
        }
        if !enabled || !patch.patches(object) {
            return;
        }
        let name = OBJECTS[object];
        self.says(patch, format!("post_unpatch: {name}"));
        let leaks = self.is_planted("post_unpatch leaves the slot full");
        let obj = self.object(patch, object);
        obj.ran = Ran::Nothing;
        if obj.slot && !leaks {
            obj.slot = false;
            self.says(patch, format!("freed: {name}"));
        }
    }

    // ---- kernel/livepatch/core.c ----

    /// `core.c`: `klp_enable_patch()`, which the module's init calls; when it fails, the loader frees the module.
    fn klp_enable_patch(&mut self, patch: Patch, fails: Option<usize>) -> Result {
        self.says(patch, "init".to_owned());
        let livepatch = &mut self.s.patches[patch as usize];
        *livepatch = Livepatch {
            module: Module::Live,
            ..Livepatch::default()
        };
        // `core.c`: `klp_init_patch()` with `klp_add_nops()` and `klp_init_object()`.
        let nops = patch == Patch::Cumulative && !self.s.list.is_empty();
        for (object, obj) in livepatch.objects.iter_mut().enumerate() {
            obj.listed = patch.patches(object) || nops;
            obj.loaded = obj.listed && (object == VMLINUX || self.s.targets[object]);
        }
        self.s.list.push(patch);
        let result = self.enable(patch, fails);
        if result.is_err() {
            self.s.list.retain(|p| *p != patch);
            self.s.patches[patch as usize] = Livepatch::default();
            self.says(patch, "exit".to_owned());
        }
        result
    }

    /// `core.c`: `__klp_enable_patch()`.
    fn enable(&mut self, patch: Patch, fails: Option<usize>) -> Result {
        if self.s.transition.is_some() {
            return Err("EBUSY");
        }
        self.core(format!("enabling patch '{}'", patch.name()));
        self.klp_init_transition(patch, Patched);
        for object in self.objects(patch) {
            if !self.object(patch, object).loaded
                && !self.is_planted("callbacks of an object that is not loaded")
            {
                continue;
            }
            let fails = fails == Some(object);
            if let Err(errno) = self.pre_patch(patch, object, fails) {
                self.core(format!(
                    "pre-patch callback failed for object '{}'",
                    OBJECTS[object]
                ));
                self.core(format!("failed to enable patch '{}'", patch.name()));
                // `transition.c`: `klp_cancel_transition()`.
                self.of(
                    patch,
                    "canceling patching transition, going to unpatch".to_owned(),
                );
                self.s.transition = Some((patch, Unpatched));
                if self.is_planted("pre_unpatch of what was never enabled") {
                    self.callback(patch, VMLINUX, Ran::PreUnpatch);
                }
                self.klp_complete_transition();
                if self.is_planted("a failed pre_patch is no error") {
                    return Ok(());
                }
                return Err(errno);
            }
            self.object(patch, object).patched = true;
        }
        self.klp_start_transition();
        if self.is_planted("a callback after the transition has started") {
            self.callback(patch, VMLINUX, Ran::PrePatch);
        }
        self.s.patches[patch as usize].enabled = true;
        self.klp_try_complete_transition(false);
        Ok(())
    }

    /// `core.c`: `enabled_store()`.
    fn enabled_store(&mut self, patch: Patch, enabled: bool) -> Result {
        if self.s.patches[patch as usize].enabled == enabled {
            return Err("EINVAL");
        }
        match self.s.transition {
            Some((p, _)) if p == patch => self.klp_reverse_transition(),
            // `core.c`: `__klp_disable_patch()`.
            Some(_) if self.is_planted("a refused write is done") => {
                self.s.patches[patch as usize].enabled = enabled;
                return Err("EBUSY");
            }
            Some(_) => return Err("EBUSY"),
            None => {
                self.klp_init_transition(patch, Unpatched);
                for object in self.objects(patch) {
                    if self.object(patch, object).patched {
                        self.callback(patch, object, Ran::PreUnpatch);
                    }
                }
                if self.is_planted("exit runs when a livepatch is disabled") {
                    self.says(patch, "exit".to_owned());
                }
                self.klp_start_transition();
                self.s.patches[patch as usize].enabled = false;
                self.klp_try_complete_transition(false);
            }
        }
        Ok(())
    }

    /// `core.c`: `force_store()`.
    fn force_store(&mut self, patch: Patch) -> Result {
        let Some((_, target)) = self.s.transition.filter(|(p, _)| *p == patch) else {
            return Err("EINVAL");
        };
        // `transition.c`: `klp_force_transition()`.
        self.core("forcing remaining tasks to the patched state".to_owned());
        for other in self.s.list.clone() {
            let goes = match target {
                Unpatched => other == patch,
                Patched => other != patch && patch == Patch::Cumulative,
            };
            if goes {
                self.s.patches[other as usize].forced = true;
            }
        }
        self.klp_try_complete_transition(true);
        Ok(())
    }

    /// `core.c`: `klp_free_patch_async()`: from here on the core does not know it.
    pub fn klp_free_patch(&mut self, patch: Patch) {
        self.s.list.retain(|p| *p != patch);
        if self.s.patches[patch as usize].forced && !self.is_planted("a forced module goes") {
            self.s.patches[patch as usize] = Livepatch::default();
            self.shown.pinned = Some(patch);
            if self.s.task == In(patch) {
                self.s.task = Stale;
            }
            return;
        }
        let mut idle = Livepatch {
            module: Module::Idle,
            ..Livepatch::default()
        };
        for object in 0..3 {
            idle.objects[object].slot = self.object(patch, object).slot;
        }
        self.s.patches[patch as usize] = idle;
    }

    /// `core.c`: `klp_cleanup_module_patches_limited()`.
    fn cleanup(&mut self, target: usize, limit: Option<Patch>) {
        for patch in self.s.list.clone() {
            if Some(patch) == limit {
                break;
            }
            if !self.object(patch, target).listed {
                continue;
            }
            let in_transition = self.s.transition.is_some_and(|(p, _)| p == patch);
            if !in_transition || self.is_planted("pre_unpatch without post_patch") {
                self.callback(patch, target, Ran::PreUnpatch);
            }
            self.core(format!(
                "reverting patch '{}' on unloading module '{}'",
                patch.name(),
                OBJECTS[target]
            ));
            self.object(patch, target).patched =
                self.is_planted("patched after its module has gone");
            if !self.is_planted("no post_unpatch when a target goes") {
                self.post_unpatch(patch, target);
            }
            if self.is_planted("callbacks of the other objects when a target goes") {
                self.callback(patch, VMLINUX, Ran::PreUnpatch);
            }
            self.object(patch, target).loaded = false;
        }
    }

    /// `core.c`: `klp_module_coming()`; after it the loader runs the module's init.
    fn insmod_target(&mut self, target: usize, fails: Option<Patch>) -> Result {
        let name = OBJECTS[target];
        if self.is_planted("init of a target before the callbacks") {
            self.shown.log.push(format!("{name}: init"));
        }
        for patch in self.s.list.clone() {
            if !self.object(patch, target).listed {
                continue;
            }
            self.object(patch, target).loaded = true;
            self.core(format!(
                "applying patch '{}' to loading module '{name}'",
                patch.name()
            ));
            if let Err(errno) = self.pre_patch(patch, target, fails == Some(patch)) {
                self.core(format!("pre-patch callback failed for object '{name}'"));
                self.core(format!(
                    "patch '{}' failed for module '{name}', refusing to load module '{name}'",
                    patch.name()
                ));
                self.object(patch, target).loaded = false;
                let all = self.is_planted("a refused target stays patched by others");
                self.cleanup(target, Some(if all { self.s.list[0] } else { patch }));
                return Err(errno);
            }
            self.object(patch, target).patched = true;
            if self.s.transition.is_none_or(|(p, _)| p != patch) {
                self.callback(patch, target, Ran::PostPatch);
            }
        }
        self.s.targets[target] = true;
        if !self.is_planted("init of a target before the callbacks") {
            self.shown.log.push(format!("{name}: init"));
        }
        Ok(())
    }

    /// `delete_module()` (`kernel/module/main.c`), then `klp_module_going()` (`kernel/livepatch/core.c`).
    fn rmmod_target(&mut self, target: usize) -> Result {
        if target == ALPHA && self.s.task != Nowhere {
            return Err("EAGAIN");
        }
        self.shown.log.push(format!("{}: exit", OBJECTS[target]));
        self.cleanup(target, None);
        self.s.targets[target] = false;
        Ok(())
    }

    /// `delete_module()` (`kernel/module/main.c`) of a livepatch; klp frees what replaced objects still hold.
    fn rmmod(&mut self, patch: Patch) -> Result {
        if self.s.patches[patch as usize].module == Module::Live {
            return Err("EAGAIN");
        }
        for (object, name) in OBJECTS.iter().enumerate() {
            if self.object(patch, object).slot && !self.is_planted("a replaced state is not freed")
            {
                self.says(patch, format!("freed: {name}"));
            }
        }
        self.says(patch, "exit".to_owned());
        self.s.patches[patch as usize] = Livepatch::default();
        Ok(())
    }
}

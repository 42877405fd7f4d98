// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What an invariant can see of an edge.

use crate::machine::REFUSED;
use crate::world::Action;
use crate::world::Patch;
use crate::world::Ran;
use crate::world::Shown;
use crate::world::State;
use crate::world::OBJECTS;
use crate::world::PATCHES;

pub struct Edge<'a> {
    pub from: &'a State,
    pub action: Action,
    pub shown: &'a Shown,
    pub to: &'a State,
}

/// A line of a callback.
pub struct Callback<'a> {
    pub at: usize,
    pub patch: Patch,
    pub word: &'a str,
    pub object: usize,
    pub fails: bool,
}

fn callback(at: usize, line: &str) -> Option<Callback<'_>> {
    let mut words = line.split(": ");
    let name = words.next()?;
    let patch = PATCHES.into_iter().find(|p| p.name() == name)?;
    let word = words.next().filter(|w| w.ends_with("patch"))?;
    let name = words.next()?;
    Some(Callback {
        at,
        patch,
        word,
        object: OBJECTS.iter().position(|o| *o == name)?,
        fails: words.next().is_some(),
    })
}

impl Edge<'_> {
    pub fn callbacks(&self) -> Vec<Callback<'_>> {
        let lines = self.shown.log.iter().enumerate();
        lines.filter_map(|(at, line)| callback(at, line)).collect()
    }

    /// The livepatches whose callbacks a target has that comes or goes.
    pub fn of_target(&self, target: usize) -> Option<Vec<Patch>> {
        let mut of = self.from.list.clone();
        of.retain(|p| p.patches(target));
        Some(of).filter(|of| !of.is_empty())
    }

    pub fn at(&self, line: &str) -> Option<usize> {
        self.shown.log.iter().position(|l| l == line)
    }

    /// Where the core said so of that livepatch's transition.
    pub fn transition(&self, patch: Patch, verb: &str) -> Option<usize> {
        let begin = format!("livepatch: '{}': {verb} ", patch.name());
        self.shown.log.iter().rposition(|l| l.starts_with(&begin))
    }

    /// The callbacks of one object of one livepatch, in their order.
    pub fn of(&self, patch: Patch, object: usize) -> Vec<&str> {
        let all = self.callbacks();
        let own = all
            .iter()
            .filter(|c| c.patch == patch && c.object == object);
        own.map(|c| c.word).collect()
    }

    pub fn is_done(&self) -> bool {
        self.shown.errno.is_none()
    }

    /// With its errno, and nothing has changed.
    pub fn is_refused_by_pre_patch(&self) -> bool {
        self.shown.errno == Some(REFUSED) && self.to == self.from
    }

    /// The livepatch was being replaced here.
    pub fn replaces_plain(&self) -> bool {
        self.from.list.first() == Some(&Patch::Plain)
            && self.to.patches[Patch::Cumulative as usize].enabled
            && self.to.list == [Patch::Cumulative]
    }
}

/// Each object of an enabled livepatch is patched when it is loaded, keeps its state, and has had its post_patch.
pub fn is_consistent(state: &State) -> bool {
    let of = |p: &Patch| (*p, &state.patches[*p as usize]);
    let settled = state
        .list
        .iter()
        .map(of)
        .filter(|(p, l)| l.enabled && state.transition.is_none_or(|(t, _)| t != *p));
    settled.into_iter().all(|(patch, livepatch)| {
        (0..3).filter(|o| patch.patches(*o)).all(|o| {
            let obj = livepatch.objects[o];
            obj.patched == obj.loaded && (obj.ran == Ran::PostPatch) == obj.loaded
        })
    })
}

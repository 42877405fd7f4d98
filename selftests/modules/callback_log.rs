// SPDX-License-Identifier: GPL-2.0

//! The log line of a callback, in the words that the kernel's own tests expect.

use kernel::prelude::*;
use klp::{
    ModuleState,
    Object, //
};

/// Logs that `callback` runs for `obj`, and for a module in which state it is.
pub(crate) fn log(callback: &str, obj: &Object) {
    let Some(state) = obj.module_state() else {
        pr_info!("{callback}: {obj}\n");
        return;
    };
    let state = match state {
        ModuleState::Live => "[MODULE_STATE_LIVE] Normal state",
        ModuleState::Coming => "[MODULE_STATE_COMING] Full formed, running module_init",
        ModuleState::Going => "[MODULE_STATE_GOING] Going away",
        ModuleState::Unformed => "[MODULE_STATE_UNFORMED] Still setting it up",
    };
    pr_info!("{callback}: {obj} -> {state}\n");
}

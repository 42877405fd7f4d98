// SPDX-License-Identifier: GPL-2.0

//! Callbacks that log, of a module whose `pre_patch` says what becomes of it.

#[path = "callback_log.rs"]
mod callback_log;

use callback_log::log;
use kernel::prelude::*;
use klp::Object;

pub(crate) struct Demo;

#[vtable]
impl klp::Callbacks for Demo {
    fn pre_patch(obj: &Object) -> Result {
        log("pre_patch_callback", obj);
        crate::pre_patch(obj)
    }

    fn post_patch(obj: &Object) {
        log("post_patch_callback", obj);
    }

    fn pre_unpatch(obj: &Object) {
        log("pre_unpatch_callback", obj);
    }

    fn post_unpatch(obj: &Object) {
        log("post_unpatch_callback", obj);
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The callbacks of version 2 of the state, which knows how to take it over and how to pass it back.

use kernel::prelude::*;

use crate::{
    callback_log,
    loglevel::{
        self,
        Saved, //
    },
    LOGLEVEL, //
};

pub(crate) struct Loglevel;

#[vtable]
impl klp::Callbacks for Loglevel {
    fn pre_patch(obj: &klp::Object) -> Result {
        callback_log::log("pre_patch_callback", obj);
        let me = "allocate_loglevel_state";
        if LOGLEVEL.previous(obj).is_some() {
            pr_info!("{me}: space to store console_loglevel already allocated\n");
            return Ok(());
        }
        LOGLEVEL.fill(obj, KBox::new(Saved::new(), GFP_KERNEL)?);
        pr_info!("{me}: allocating space to store console_loglevel\n");
        Ok(())
    }

    fn post_patch(obj: &klp::Object) {
        callback_log::log("post_patch_callback", obj);
        let me = "fix_console_loglevel";
        if let Some(previous) = LOGLEVEL.previous(obj) {
            pr_info!("{me}: taking over the console_loglevel change\n");
            if let Some(saved) = previous.take::<Saved>() {
                LOGLEVEL.fill(obj, saved);
            }
        } else if let Some(saved) = LOGLEVEL.read() {
            pr_info!("{me}: fixing console_loglevel\n");
            loglevel::fix(&saved);
        }
    }

    fn pre_unpatch(obj: &klp::Object) {
        callback_log::log("pre_unpatch_callback", obj);
        let me = "restore_console_loglevel";
        if LOGLEVEL.previous(obj).is_some() {
            pr_info!("{me}: passing the console_loglevel change back to the old livepatch\n");
        } else if let Some(saved) = LOGLEVEL.read() {
            pr_info!("{me}: restoring console_loglevel\n");
            loglevel::restore(&saved);
        }
    }

    fn post_unpatch(obj: &klp::Object) {
        callback_log::log("post_unpatch_callback", obj);
        let me = "free_loglevel_state";
        if LOGLEVEL.previous(obj).is_some() {
            pr_info!("{me}: keeping space to store console_loglevel\n");
        } else {
            pr_info!("{me}: freeing space for the stored console_loglevel\n");
            LOGLEVEL.take(obj);
        }
    }
}

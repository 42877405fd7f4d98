// SPDX-License-Identifier: GPL-2.0

//! Changes the system and lists the change as a state, in a version that cannot take it over from another.

mod callback_log;
mod loglevel;

use kernel::prelude::*;
use loglevel::Saved;

klp::livepatch! {
    name: "test_klp_state",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: system state modification",
    license: "GPL",
    replace: true,
    states: [
        static LOGLEVEL: Saved = { id: loglevel::STATE, version: 1 },
    ],
    objects: [
        vmlinux { callbacks: Loglevel, },
    ],
}

struct Loglevel;

#[vtable]
impl klp::Callbacks for Loglevel {
    fn pre_patch(obj: &klp::Object) -> Result {
        callback_log::log("pre_patch_callback", obj);
        LOGLEVEL.fill(obj, KBox::new(Saved::new(), GFP_KERNEL)?);
        pr_info!("allocate_loglevel_state: allocating space to store console_loglevel\n");
        Ok(())
    }

    fn post_patch(obj: &klp::Object) {
        callback_log::log("post_patch_callback", obj);
        if let Some(saved) = LOGLEVEL.read() {
            pr_info!("fix_console_loglevel: fixing console_loglevel\n");
            loglevel::fix(&saved);
        }
    }

    fn pre_unpatch(obj: &klp::Object) {
        callback_log::log("pre_unpatch_callback", obj);
        if let Some(saved) = LOGLEVEL.read() {
            pr_info!("restore_console_loglevel: restoring console_loglevel\n");
            loglevel::restore(&saved);
        }
    }

    fn post_unpatch(obj: &klp::Object) {
        callback_log::log("post_unpatch_callback", obj);
        pr_info!("free_loglevel_state: freeing space for the stored console_loglevel\n");
        LOGLEVEL.take(obj);
    }
}

// SPDX-License-Identifier: GPL-2.0

//! A module that comes and goes while livepatches are enabled.

use kernel::prelude::*;

module! {
    type: Target,
    name: "test_klp_callbacks_mod",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a target without functions to patch",
    license: "GPL",
}

struct Target;

impl kernel::Module for Target {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("test_klp_callbacks_mod_init\n");
        Ok(Self)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        pr_info!("test_klp_callbacks_mod_exit\n");
    }
}

// SPDX-License-Identifier: GPL-2.0

//! A second target, which only tells when its init and exit run.

use kernel::prelude::*;

module! {
    type: Other,
    name: "rules_other",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a target that only comes and goes",
    license: "GPL",
}

struct Other;

impl kernel::Module for Other {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("init\n");
        Ok(Self)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        pr_info!("exit\n");
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Changes the system and lists the change as a state, in a version that takes it over from others.

mod callback_log;
mod loglevel;
mod loglevel_handover;

use loglevel::Saved;
use loglevel_handover::Loglevel;

klp::livepatch! {
    name: "test_klp_state2",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: system state modification",
    license: "GPL",
    replace: true,
    states: [
        static LOGLEVEL: Saved = { id: loglevel::STATE, version: 2 },
    ],
    objects: [
        vmlinux { callbacks: Loglevel, },
    ],
}

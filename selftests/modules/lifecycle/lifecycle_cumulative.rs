// SPDX-License-Identifier: GPL-2.0

//! A livepatch that replaces others, with a state, and without `lifecycle_beta`.

mod callbacks;

use core::ops::RangeInclusive;

use callbacks::stateful;
use kernel::{
    ffi::c_int,
    prelude::*, //
};
use klp::{
    Slotted,
    StateData, //
};

klp::livepatch! {
    type: callbacks::Module,
    name: "lifecycle_cumulative",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: the cumulative livepatch of the lifecycle",
    license: "GPL",
    replace: true,
    states: [
        static CHANGE: Change = { id: Change::ID, version: 1 },
    ],
    objects: [
        vmlinux { change: CHANGE, },
        "lifecycle_alpha" {
            stateful: Alpha,
            functions: [
                // SAFETY: The declaration is that of lifecycle_alpha.c; a positive answer is as good as 0 to its caller.
                unsafe fn lifecycle_alpha_enter(unsafe extern "C" fn() -> c_int) -> c_int = enter,
            ],
        },
    ],
}

stateful!(Alpha, "lifecycle_alpha");

klp::fixed_layout! {
    /// The data of the state, of which there is nothing to keep.
    #[derive(Default)]
    struct Change {
        nothing: u32,
    }
}

// SAFETY: No other livepatch uses the id.
unsafe impl StateData for Change {
    const ID: usize = 0x6c69_6665;
    const VERSIONS: RangeInclusive<u32> = 1..=1;
}

impl klp::SystemChange for Change {
    fn save(_before: Option<u32>) -> impl PinInit<Self, Error> {
        core::mem::forget(callbacks::pre_patch("vmlinux")?);
        Ok::<_, Error>(Self::default())
    }

    fn apply(&self) {
        pr_info!("post_patch: vmlinux\n");
    }

    fn revert(&self) {
        pr_info!("pre_unpatch: vmlinux\n");
    }

    fn done(_before: Option<u32>) {
        pr_info!("post_unpatch: vmlinux\n");
    }
}

/// Answers 2, or 9 where there is no state.
unsafe extern "C" fn enter(wait: unsafe extern "C" fn() -> c_int) -> c_int {
    // SAFETY: The target passes a function that may be called here: the old function calls it as well.
    match unsafe { wait() } {
        0 => Alpha::state().map_or(9, |_| 2),
        error => error,
    }
}

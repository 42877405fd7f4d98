// SPDX-License-Identifier: GPL-2.0 OR MIT

//! For each program that people pipe into `head`; the package `preflight` has it from here.

use std::panic;

/// A reader that has seen enough is no accident to tell of. The panic itself goes on, since what was half-made is cleaned up on
/// its way.
pub fn bear_closed() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>();
        if !text.is_some_and(|text| text.ends_with("Broken pipe (os error 32)")) {
            usual(info);
        }
    }));
}

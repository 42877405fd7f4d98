// SPDX-License-Identifier: GPL-2.0

//! A livepatch that works in the background, and leaves nothing behind that could run without it.
//!
//! `/proc/softirqs` counts since boot. Who polls it sees averages; a storm of a few milliseconds, which is what makes a
//! system stutter, is lost in them. The patch adds a column with the most softirqs of each kind in any 10 ms of the last
//! 200 ms, which takes a timer, work and RCU callbacks: see `sampler.rs`.
//!
//! Why callbacks: the core lets the module go when no task runs its *functions*. It knows nothing of a timer that is armed,
//! of queued work or of an RCU callback that waits for its grace period. Each of them is a pointer into the text of the
//! module; if one is called after rmmod, the kernel dies. So pre_patch starts them, and whoever gets the state back
//! drains them all.
//!
//! ```text
//! # insmod deferred_work.ko
//! # cat /proc/softirqs
//!                     CPU0       CPU1       peak/10ms
//!        TIMER:       2043       1822          5
//!       NET_RX:         12          9          2
//!          …
//! # echo 0 > /sys/kernel/livepatch/deferred_work/enabled
//! # rmmod deferred_work
//! ```

mod sampler;

use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

use klp::Slotted;
use sampler::Sampling;

klp::bindings!();

// ANCHOR: metadata
klp::livepatch! {
    name: "deferred_work",
    authors: ["The livepatch cookbook"],
    description: "Show the peaks of softirqs in /proc/softirqs",
    license: "GPL",
    objects: [
        vmlinux {
            stateful: SoftirqPeaks,
            functions: [
                // SAFETY: The declaration is that of fs/proc/softirqs.c.
                unsafe fn show_softirqs(*mut bindings::seq_file, *mut c_void) -> c_int = show,
            ],
        },
    ],
}
// ANCHOR_END: metadata

struct SoftirqPeaks;

// ANCHOR: callbacks
#[vtable]
impl klp::StatefulCallbacks for SoftirqPeaks {
    type State = Sampling;

    fn pre_patch(obj: &klp::Object) -> impl PinInit<Sampling, Error> {
        pr_info!("pre_patch: {obj}: sampling\n");
        Sampling::new()
    }

    /// Draining is the business of `Drop`, not of this callback, because the callback does not run when another patch
    /// replaces this one. Then the sampling goes on, unseen, until `rmmod` drops the state.
    fn post_unpatch(obj: &klp::Object, sampling: Pin<KBox<Sampling>>) {
        drop(sampling);
        pr_info!("post_unpatch: {obj}: drained\n");
    }
}
// ANCHOR_END: callbacks

/// Replaces `show_softirqs()`.
///
/// # Safety
///
/// As that function: `seq` must be the open file `/proc/softirqs`.
unsafe extern "C" fn show(seq: *mut bindings::seq_file, _v: *mut c_void) -> c_int {
    let peaks = SoftirqPeaks::state().and_then(|sampling| sampling.peaks());
    // SAFETY: The duty of this function.
    let file = unsafe {
        bindings::softirqs_heading(seq);
        SeqFile::from_raw(seq)
    };
    seq_print!(file, "peak/10ms\n");
    for kind in 0..sampler::KINDS {
        // SAFETY: The duty of this function; `kind` is one of the kernel's.
        unsafe { bindings::softirqs_line(seq, kind as u32) };
        // FIX: what a counter since boot cannot tell.
        match &peaks {
            Some(peaks) => seq_print!(file, " {:10}\n", peaks[kind]),
            None => seq_print!(file, "          -\n"),
        }
    }
    0
}

// SPDX-License-Identifier: GPL-2.0

//! The patch of samples/deferred-work as it is written first. **It kills the kernel**: its work runs on after rmmod.

use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::msecs_to_jiffies,
    workqueue::{
        self,
        impl_has_delayed_work,
        new_delayed_work,
        DelayedWork,
        WorkItem, //
    },
};

use klp::Slotted;

klp::bindings!();

const KINDS: usize = bindings::NR_SOFTIRQS as usize;

klp::livepatch! {
    name: "naive_deferred_work",
    authors: ["The livepatch cookbook"],
    description: "Show the peaks of softirqs in /proc/softirqs (wrong)",
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

struct SoftirqPeaks;

// ANCHOR: naive
#[pin_data]
struct Sampler {
    #[pin]
    work: DelayedWork<Self>,
    before: [Atomic<u32>; KINDS],
    peaks: [Atomic<u32>; KINDS],
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Sampler { self.work }
}

impl WorkItem for Sampler {
    type Pointer = Arc<Self>;

    /// Counts, and comes again in 10 ms.
    fn run(this: Arc<Self>) {
        for kind in 0..KINDS {
            let now = softirqs(kind);
            let count = now.wrapping_sub(this.before[kind].xchg(now, Relaxed));
            if count > this.peaks[kind].load(Relaxed) {
                this.peaks[kind].store(count, Relaxed);
            }
        }
        let _ = workqueue::system_power_efficient().enqueue_delayed(this, msecs_to_jiffies(10));
    }
}

#[vtable]
impl klp::StatefulCallbacks for SoftirqPeaks {
    type State = Arc<Sampler>;

    fn pre_patch(obj: &klp::Object) -> impl PinInit<Arc<Sampler>, Error> {
        let sampler = Arc::pin_init(
            pin_init!(Sampler {
                work <- new_delayed_work!("naive_deferred_work::Sampler"),
                before: core::array::from_fn(|kind| Atomic::new(softirqs(kind))),
                peaks: [const { Atomic::new(0) }; KINDS],
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system_power_efficient().enqueue(sampler.clone());
        pr_info!("pre_patch: {obj}: sampling\n");
        Ok(sampler)
    }

    /// That was the last user of the sampler.
    fn post_unpatch(obj: &klp::Object, sampler: Pin<KBox<Arc<Sampler>>>) {
        drop(sampler);
        pr_info!("post_unpatch: {obj}: freed\n");
    }
}
// ANCHOR_END: naive

/// How often softirqs of `kind` ran since boot; wraps around.
fn softirqs(kind: usize) -> u32 {
    // SAFETY: Reads counters; all callers stay below `KINDS`.
    unsafe { bindings::softirqs(kind as u32) }
}

/// Replaces `show_softirqs()`.
///
/// # Safety
///
/// As that function: `seq` must be the open file `/proc/softirqs`.
unsafe extern "C" fn show(seq: *mut bindings::seq_file, _v: *mut c_void) -> c_int {
    // SAFETY: The duty of this function.
    let file = unsafe {
        bindings::softirqs_heading(seq);
        SeqFile::from_raw(seq)
    };
    seq_print!(file, "peak/10ms\n");
    for kind in 0..KINDS {
        let peak = SoftirqPeaks::state().map_or(0, |sampler| sampler.peaks[kind].load(Relaxed));
        // SAFETY: The duty of this function; `kind` is one of the kernel's.
        unsafe { bindings::softirqs_line(seq, kind as u32) };
        seq_print!(file, " {peak:10}\n");
    }
    0
}

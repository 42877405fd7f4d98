// SPDX-License-Identifier: GPL-2.0

//! Counts softirqs in the background by the three means that outlive the call that starts them.
//!
//! 1. A timer reads the counters every 10 ms, in hard interrupt context, where it can neither allocate nor wait.
//! 2. So every 200 ms it queues work, which allocates a snapshot of the peaks and publishes it in process context.
//! 3. A reader may still look at the snapshot before, so an RCU callback frees that one, in softirq context.
//!
//! Each link starts the next one. [`Sampling`] therefore drains them in this order, and only so.

use kernel::{
    impl_has_hr_timer,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu,
        Arc,
        ArcBorrow, //
    },
    time::{
        hrtimer::{
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerHandle,
            HrTimerPointer,
            HrTimerRestart,
            RelativeMode, //
        },
        Delta,
        Monotonic, //
    },
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    },
};

use crate::bindings;

/// The kinds of softirqs.
pub(crate) const KINDS: usize = bindings::NR_SOFTIRQS as usize;

const TICK: Delta = Delta::from_millis(10);
const TICKS_PER_SNAPSHOT: u32 = 20;

/// The most softirqs of each kind in 10 ms, out of the last 200 ms.
#[repr(C)]
struct Snapshot {
    rcu: bindings::callback_head,
    peaks: [u32; KINDS],
}

#[pin_data]
struct Sampler {
    #[pin]
    timer: HrTimer<Self>,
    #[pin]
    work: Work<Self>,
    ticks: Atomic<u32>,
    before: [Atomic<u32>; KINDS],
    peaks: [Atomic<u32>; KINDS],
    /// Null or a box, which the sampler owns until RCU does.
    latest: Atomic<*mut Snapshot>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Sampler {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

impl_has_work! {
    impl HasWork<Self> for Sampler { self.work }
}

#[cfg(CONFIG_CFI)]
compile_error!(
    "not on this kernel: the timers of the kernel crate die by CFI, their function returns an unsigned integer, the kernel calls one that returns `enum hrtimer_restart`"
);

// ANCHOR: links
impl HrTimerCallback for Sampler {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: ArcBorrow<'_, Self>,
        mut timer: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        for kind in 0..KINDS {
            let now = softirqs(kind);
            let count = now.wrapping_sub(this.before[kind].xchg(now, Relaxed));
            if count > this.peaks[kind].load(Relaxed) {
                this.peaks[kind].store(count, Relaxed);
            }
        }
        if this.ticks.fetch_add(1, Relaxed) % TICKS_PER_SNAPSHOT == TICKS_PER_SNAPSHOT - 1 {
            // Refused while the work is still queued; then that run serves for both.
            let _ = workqueue::system_power_efficient().enqueue::<Arc<Self>, 0>(this.into());
        }
        timer.forward_now(TICK);
        HrTimerRestart::Restart
    }
}

impl WorkItem for Sampler {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let snapshot = Snapshot {
            rcu: bindings::callback_head::default(),
            peaks: core::array::from_fn(|kind| this.peaks[kind].xchg(0, Relaxed)),
        };
        if let Ok(snapshot) = KBox::new(snapshot, GFP_KERNEL) {
            this.publish(KBox::into_raw(snapshot));
        }
    }
}

// ANCHOR_END: links

// ANCHOR: publish
impl Sampler {
    /// Shows readers `snapshot`, a box or null, and frees the one before when the last of its readers has gone.
    fn publish(&self, snapshot: *mut Snapshot) {
        // Release pairs with the acquire load in `Sampling::peaks`.
        let old = self.latest.xchg(snapshot, Release);
        if !old.is_null() {
            // SAFETY: `old` is a box that nobody can find any more, and `free` is right for it.
            unsafe { bindings::call_rcu(&raw mut (*old).rcu, Some(free)) };
        }
    }
}

/// The RCU callback: runs in softirq context, a grace period or more after the snapshot was replaced.
///
/// # Safety
///
/// `head` must be the field of a boxed [`Snapshot`] that nobody uses.
unsafe extern "C" fn free(head: *mut bindings::callback_head) {
    // SAFETY: By the duty of this function; `rcu` is the first field of the C layout.
    drop(unsafe { KBox::from_raw(head.cast::<Snapshot>()) });
}
// ANCHOR_END: publish

/// How often softirqs of `kind` ran since boot; wraps around.
fn softirqs(kind: usize) -> u32 {
    // SAFETY: Reads counters; all callers stay below `KINDS`.
    unsafe { bindings::softirqs(kind as u32) }
}

// ANCHOR: drain
/// Sampling that goes on while the value lives. When it is dropped nothing of it runs any more or ever will.
pub(crate) struct Sampling {
    timer: ArcHrTimerHandle<Sampler>,
    sampler: Arc<Sampler>,
}

impl Sampling {
    /// Starts it. Process context; may sleep.
    pub(crate) fn new() -> Result<Self> {
        let sampler = Arc::pin_init(
            pin_init!(Sampler {
                timer <- HrTimer::new(),
                work <- new_work!("deferred_work::Sampler"),
                ticks: Atomic::new(0),
                before: core::array::from_fn(|kind| Atomic::new(softirqs(kind))),
                peaks: [const { Atomic::new(0) }; KINDS],
                latest: Atomic::new(core::ptr::null_mut()),
            }),
            GFP_KERNEL,
        )?;
        let timer = sampler.clone().start(TICK);
        Ok(Self { timer, sampler })
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        // Waits for a handler that runs at this moment on another CPU. Nobody starts the timer again but its handler, so
        // from here on nobody queues the work. The other way round it could be queued after it was flushed.
        self.timer.cancel();
        // SAFETY: The sampler is alive. Waits for the work, which owns a reference: cancelling would leak that.
        unsafe { bindings::flush_work(Work::raw_get(&raw const self.sampler.work)) };
        // Nobody publishes any more, so this is the last call_rcu().
        self.sampler.publish(core::ptr::null_mut());
        // SAFETY: We are in process context and hold no lock that an RCU callback takes. Waits until the callbacks have
        // *run*; synchronize_rcu() would wait until they may, and leave the text while the first of them is in it.
        unsafe { bindings::rcu_barrier() };
    }
}
// ANCHOR_END: drain

impl Sampling {
    /// The peaks of the last snapshot, or `None` before the first. Any context.
    pub(crate) fn peaks(&self) -> Option<[u32; KINDS]> {
        let _guard = rcu::read_lock();
        // SAFETY: A snapshot that is found here is freed a grace period after it was replaced, and not before `_guard`
        // is dropped.
        unsafe { self.sampler.latest.load(Acquire).as_ref() }.map(|snapshot| snapshot.peaks)
    }
}

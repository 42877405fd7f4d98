// SPDX-License-Identifier: GPL-2.0

//! Livepatch test: redirects of routines that must be accepted or refused.
//!
//! In `test_klp_redirect_target` it redirects the routine that `target` names. In the kernel itself it redirects the one
//! that `kernel` names, which is refused.

use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

klp::livepatch! {
    name: "test_klp_redirect",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: redirect code that ftrace cannot reach",
    license: "GPL",
    objects: [
        vmlinux {
            callbacks: Holds,
            // SAFETY: All are refused.
            redirects: [
                unsafe fn no_such_routine(u64, u64) -> u64 = difference where KERNEL.get() == KernelRoutine::Missing,
                unsafe fn exc_int3(u64, u64) -> u64 = difference where KERNEL.get() == KernelRoutine::Noinstr,
                unsafe fn entry_SYSCALL_64(u64, u64) -> u64 = difference where KERNEL.get() == KernelRoutine::Entry,
                unsafe fn kprobe_int3_handler(u64, u64) -> u64 = difference where KERNEL.get() == KernelRoutine::Blacklisted,
                unsafe fn init_once(u64, u64) -> u64 = difference where KERNEL.get() == KernelRoutine::Several,
                unsafe fn cmdline_proc_show(u64, u64) -> u64 = difference where KERNEL.get() == KernelRoutine::Traced,
                unsafe fn test_redirect_sum(u64, u64) -> u64 = difference where KERNEL.get() == KernelRoutine::Elsewhere,
            ],
        },
        "test_klp_redirect_target" {
            stateful: TestRedirect,
            // SAFETY: Refused, or `sum` of the target; the replacement computes and returns.
            redirects: [
                unsafe fn test_redirect_sum(u64, u64) -> u64 = difference where TARGET.get() == TargetRoutine::Sum,
                unsafe fn no_such_routine(u64, u64) -> u64 = difference where TARGET.get() == TargetRoutine::Missing,
                unsafe fn test_redirect_noinstr(u64, u64) -> u64 = difference where TARGET.get() == TargetRoutine::Noinstr,
                unsafe fn test_redirect_nokprobe(u64, u64) -> u64 = difference where TARGET.get() == TargetRoutine::Blacklisted,
                unsafe fn test_redirect_twice(u64, u64) -> u64 = difference where TARGET.get() == TargetRoutine::Several,
                unsafe fn test_redirect_plain(u64, u64) -> u64 = difference where TARGET.get() == TargetRoutine::Traced,
                unsafe fn test_redirect_data(u64, u64) -> u64 = difference where TARGET.get() == TargetRoutine::Data,
                unsafe fn rdmsr_safe_regs(u64, u64) -> u64 = difference where TARGET.get() == TargetRoutine::Elsewhere,
            ],
        },
    ],
}

klp::param! {
    static KERNEL("kernel"): enum KernelRoutine {
        None = "none",
        Missing = "no_such_routine",
        Noinstr = "exc_int3",
        Entry = "entry_SYSCALL_64",
        Blacklisted = "kprobe_int3_handler",
        Several = "init_once",
        Traced = "cmdline_proc_show",
        Elsewhere = "test_redirect_sum",
    } = KernelRoutine::None, 0o444, "the routine of the kernel to redirect"
}

klp::param! {
    static TARGET("target"): enum TargetRoutine {
        None = "none",
        Sum = "test_redirect_sum",
        Missing = "no_such_routine",
        Noinstr = "test_redirect_noinstr",
        Blacklisted = "test_redirect_nokprobe",
        Several = "test_redirect_twice",
        Traced = "test_redirect_plain",
        Data = "test_redirect_data",
        Elsewhere = "rdmsr_safe_regs",
    } = TargetRoutine::None, 0o444, "the routine of the target to redirect"
}

klp::param! {
    static LINGER("linger"): bool = false, 0o644, "stay in the replacement, runnable, as long as this is set"
}

klp::param! {
    static HOLD("hold"): bool = false, 0o644, "what comes after the transition waits as long as this is set"
}

klp::param! {
    static REFUSE("refuse"): bool = false, 0o644, "pre_patch fails, after everything is registered"
}

struct TestRedirect;

#[vtable]
impl klp::StatefulCallbacks for TestRedirect {
    type State = ();

    fn pre_patch(_obj: &klp::Object) -> impl PinInit<(), Error> {
        match REFUSE.get() {
            true => Err(ENODEV),
            false => Ok(()),
        }
    }

    fn pre_unpatch(obj: &klp::Object, _state: Pin<&()>) {
        pr_info!("pre_unpatch: {obj}\n");
    }

    fn post_unpatch(obj: &klp::Object, _state: Pin<KBox<()>>) {
        pr_info!("post_unpatch: {obj}: drained\n");
    }
}

/// Comes before the post_unpatch of the target.
struct Holds;

#[vtable]
impl klp::Callbacks for Holds {
    fn post_unpatch(_obj: &klp::Object) {
        while HOLD.get() {
            fsleep(Delta::from_millis(100));
        }
    }
}

extern "C" fn difference(a: u64, b: u64) -> u64 {
    while LINGER.get() {
        core::hint::spin_loop();
    }
    a.wrapping_sub(b)
}

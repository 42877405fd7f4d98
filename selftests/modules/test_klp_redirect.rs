// SPDX-License-Identifier: GPL-2.0

//! Livepatch test: `klp::Redirect` on routines that it must accept or refuse, and armed many times.
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
    type: TestRedirect,
    name: "test_klp_redirect",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: redirect code that ftrace cannot reach",
    license: "GPL",
    objects: [
        vmlinux { stateful: Refused, },
        "test_klp_redirect_target" { stateful: TestRedirect, },
    ],
}

/// Declares an enum parameter whose words are names of routines, and the route from each of them.
macro_rules! routine {
    ($static:ident($name:literal): $enum:ident { $($variant:ident = $routine:literal),+ $(,)? }, $text:literal) => {
        klp::param! {
            static $static($name): enum $enum { None = "none", $($variant = $routine),+ } = $enum::None, 0o444, $text
        }

        impl $enum {
            fn routes(self) -> &'static [klp::Route] {
                match self {
                    Self::None => &[],
                    $(Self::$variant => {
                        // SAFETY: Refused, or `sum` of the target; the replacement computes and returns.
                        static ROUTES: [klp::Route; 1] = klp::routes![unsafe fn $routine(u64, u64) -> u64 = difference];
                        &ROUTES
                    })+
                }
            }
        }
    };
}

routine! {
    KERNEL("kernel"): KernelRoutine {
        Missing = "no_such_routine",
        Noinstr = "exc_int3",
        Entry = "entry_SYSCALL_64",
        Blacklisted = "kprobe_int3_handler",
        Several = "init_once",
        Traced = "cmdline_proc_show",
        Elsewhere = "test_redirect_sum",
    },
    "the routine of the kernel to redirect"
}

routine! {
    TARGET("target"): TargetRoutine {
        Sum = "test_redirect_sum",
        Missing = "no_such_routine",
        Noinstr = "test_redirect_noinstr",
        Blacklisted = "test_redirect_nokprobe",
        Several = "test_redirect_twice",
        Traced = "test_redirect_plain",
        Data = "test_redirect_data",
        Elsewhere = "rdmsr_safe_regs",
    },
    "the routine of the target to redirect"
}

klp::param! {
    static ROUNDS("rounds"): u32 = 0, 0o444, "how often to arm and disarm before it stays armed"
}

klp::param! {
    static LINGER("linger"): bool = false, 0o644, "stay in the replacement, runnable, as long as this is set"
}

klp::param! {
    static HOLD("hold"): bool = false, 0o644, "keep what was disarmed as long as this is set"
}

struct TestRedirect;

impl klp::Livepatch for TestRedirect {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

#[vtable]
impl klp::StatefulCallbacks for TestRedirect {
    type State = klp::Redirect;

    fn pre_patch(obj: &klp::Object) -> impl PinInit<klp::Redirect, Error> {
        klp::Redirect::prepare(obj, TARGET.get().routes())
    }

    fn post_patch(obj: &klp::Object, redirect: Pin<&klp::Redirect>) {
        let rounds = ROUNDS.get();
        for _ in 0..rounds {
            redirect.arm();
            redirect.disarm();
        }
        redirect.arm();
        pr_info!("post_patch: {obj}: armed after {rounds} rounds\n");
    }

    fn pre_unpatch(obj: &klp::Object, redirect: Pin<&klp::Redirect>) {
        redirect.disarm();
        pr_info!("pre_unpatch: {obj}: disarmed\n");
    }

    fn post_unpatch(obj: &klp::Object, redirect: Pin<KBox<klp::Redirect>>) {
        while HOLD.get() {
            fsleep(Delta::from_millis(100));
        }
        drop(redirect);
        pr_info!("post_unpatch: {obj}: drained\n");
    }
}

struct Refused;

#[vtable]
impl klp::StatefulCallbacks for Refused {
    type State = klp::Redirect;

    fn pre_patch(obj: &klp::Object) -> impl PinInit<klp::Redirect, Error> {
        klp::Redirect::prepare(obj, KERNEL.get().routes())
    }

    fn post_unpatch(_obj: &klp::Object, redirect: Pin<KBox<klp::Redirect>>) {
        drop(redirect);
    }
}

extern "C" fn difference(a: u64, b: u64) -> u64 {
    while LINGER.get() {
        core::hint::spin_loop();
    }
    a.wrapping_sub(b)
}

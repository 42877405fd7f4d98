// SPDX-License-Identifier: GPL-2.0

//! Three objects with all four callbacks, of which any pre_patch can be told to fail.
//!
//! The kernel itself gets another `kernel.overflowuid` while it is patched, so that a test sees in `/proc/sys` what was
//! changed and what was given back. `rules_target` gets a replacement that answers from the patch's state, before and after
//! it has slept, and so tells a test whether the state is still there.

use kernel::{
    bindings,
    ffi::c_int,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use klp::{
    Callbacks,
    Object,
    Slotted,
    StatefulCallbacks, //
};

klp::param! {
    static FAIL("fail"): enum Fail {
        None = "none",
        Vmlinux = "vmlinux",
        Target = "rules_target",
        Other = "rules_other",
    } = Fail::None, 0o644, "the object whose pre_patch fails"
}
klp::param! {
    static ERRNO("errno"): u32 in 1..=4095 = 19, 0o644, "how it fails"
}

klp::livepatch! {
    type: All,
    name: "rules_all",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: three objects with all callbacks",
    license: "GPL",
    objects: [
        vmlinux { stateful: Kernel, },
        "rules_target" {
            stateful: Target,
            functions: [
                // SAFETY: The declaration is that of rules_target.c; a positive answer is as good as 0 to its caller.
                unsafe fn rules_target_enter(unsafe extern "C" fn() -> c_int) -> c_int = enter,
            ],
        },
        "rules_other" { callbacks: Other, },
    ],
}

/// Tells when the module's own init and exit run.
struct All;

impl klp::Livepatch for All {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("init\n");
        Ok(Self)
    }
}

impl Drop for All {
    fn drop(&mut self) {
        pr_info!("exit\n");
    }
}

/// The state of one object; its `Drop` tells that it is freed, and undoes nothing.
struct State {
    object: &'static str,
    old_uid: c_int,
    answer: c_int,
}

impl Drop for State {
    fn drop(&mut self) {
        pr_info!("freed: {}\n", self.object);
    }
}

fn fail_if_told(obj: &Object, me: Fail) -> Result {
    if FAIL.get() != me {
        return Ok(());
    }
    let errno = ERRNO.get().value();
    pr_info!("pre_patch: {obj}: fails with {errno}\n");
    Err(Error::from_errno(-(errno as c_int)))
}

fn log(callback: &str, obj: &Object) {
    match obj.module_state() {
        Some(state) => pr_info!("{callback}: {obj}: {state:?}\n"),
        None => pr_info!("{callback}: {obj}\n"),
    }
}

struct Kernel;

impl Kernel {
    const UID: c_int = 60001;

    fn overflowuid() -> &'static Atomic<c_int> {
        // SAFETY: The variable is the kernel's own; its sysctl writes it as a whole, and nobody keeps it unchanged.
        unsafe { Atomic::from_ptr(&raw mut bindings::overflowuid) }
    }
}

#[vtable]
impl StatefulCallbacks for Kernel {
    type State = State;

    fn pre_patch(obj: &Object) -> impl PinInit<State, Error> {
        fail_if_told(obj, Fail::Vmlinux)?;
        log("pre_patch", obj);
        Ok::<_, Error>(State {
            object: "vmlinux",
            old_uid: Self::overflowuid().xchg(Self::UID, Relaxed),
            answer: 0,
        })
    }

    fn post_patch(obj: &Object, _state: Pin<&State>) {
        log("post_patch", obj);
    }

    fn pre_unpatch(obj: &Object, _state: Pin<&State>) {
        log("pre_unpatch", obj);
    }

    fn post_unpatch(obj: &Object, state: Pin<KBox<State>>) {
        log("post_unpatch", obj);
        Self::overflowuid().store(state.old_uid, Relaxed);
    }
}

struct Target;

#[vtable]
impl StatefulCallbacks for Target {
    type State = State;

    fn pre_patch(obj: &Object) -> impl PinInit<State, Error> {
        fail_if_told(obj, Fail::Target)?;
        log("pre_patch", obj);
        Ok::<_, Error>(State {
            object: "rules_target",
            old_uid: 0,
            answer: 1,
        })
    }

    fn post_patch(obj: &Object, _state: Pin<&State>) {
        log("post_patch", obj);
    }

    fn pre_unpatch(obj: &Object, _state: Pin<&State>) {
        log("pre_unpatch", obj);
    }

    fn post_unpatch(obj: &Object, _state: Pin<KBox<State>>) {
        log("post_unpatch", obj);
    }
}

// ANCHOR: state-each-time
/// Answers `BA`, where B is the state's answer before the sleep and A the one after it; 9 stands for no state.
unsafe extern "C" fn enter(wait: unsafe extern "C" fn() -> c_int) -> c_int {
    let answer = || Target::state().map_or(9, |state| state.answer);
    let before = answer();
    // SAFETY: The target passes a function that may be called here: the old function calls it as well.
    match unsafe { wait() } {
        0 => before * 10 + answer(),
        error => error,
    }
}
// ANCHOR_END: state-each-time

struct Other;

#[vtable]
impl Callbacks for Other {
    fn pre_patch(obj: &Object) -> Result {
        fail_if_told(obj, Fail::Other)?;
        log("pre_patch", obj);
        Ok(())
    }

    fn post_patch(obj: &Object) {
        log("post_patch", obj);
    }

    fn pre_unpatch(obj: &Object) {
        log("pre_unpatch", obj);
    }

    fn post_unpatch(obj: &Object) {
        log("post_unpatch", obj);
    }
}

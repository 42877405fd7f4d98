// SPDX-License-Identifier: GPL-2.0

//! Tells in which task each callback runs.

use kernel::{
    bindings,
    current,
    ffi::c_int,
    prelude::*,
    str::CStr,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use klp::{
    Callbacks,
    Object, //
};

klp::param! {
    static FAIL("fail"): bool = false, 0o644, "whether the pre_patch of rules_other fails"
}
klp::param! {
    static HOLD("hold"): bool = false, 0o644, "keeps the pre_unpatch of vmlinux from returning"
}

klp::livepatch! {
    name: "claims_tasks",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: in which task each callback runs",
    license: "GPL",
    objects: [
        vmlinux { callbacks: Tasks, },
        "rules_target" {
            callbacks: Tasks,
            functions: [
                // SAFETY: The declaration is that of rules_target.c; a positive answer is as good as 0 to its caller.
                unsafe fn rules_target_enter(unsafe extern "C" fn() -> c_int) -> c_int = enter,
            ],
        },
        "claims_target" { callbacks: Tasks, },
        "rules_other" { callbacks: Tasks, },
    ],
}

/// Logs the callback, the state of its object, and the task: its own name, or `kworker` for any worker of a workqueue.
fn log(callback: &str, obj: &Object) {
    let task = current!().as_ptr();
    // SAFETY: The task runs, and nobody renames it: these are the loader, a shell, and workers.
    let (flags, comm) = unsafe { ((*task).flags, (*task).comm) };
    let own = CStr::from_bytes_until_nul(&comm).map_or("?", |name| name.to_str().unwrap_or("?"));
    let name = match flags & bindings::PF_WQ_WORKER {
        0 => own,
        _ => "kworker",
    };
    match obj.module_state() {
        Some(state) => pr_info!("{callback}: {obj}: {state:?}: {name}\n"),
        None => pr_info!("{callback}: {obj}: {name}\n"),
    }
}

struct Tasks;

#[vtable]
impl Callbacks for Tasks {
    fn pre_patch(obj: &Object) -> Result {
        log("pre_patch", obj);
        match FAIL.get() && obj.name() == c"rules_other" {
            true => Err(ENODEV),
            false => Ok(()),
        }
    }

    fn post_patch(obj: &Object) {
        log("post_patch", obj);
    }

    fn pre_unpatch(obj: &Object) {
        log("pre_unpatch", obj);
        while HOLD.get() && obj.is_vmlinux() {
            fsleep(Delta::from_millis(100));
        }
    }

    fn post_unpatch(obj: &Object) {
        log("post_unpatch", obj);
    }
}

/// Answers 33.
unsafe extern "C" fn enter(wait: unsafe extern "C" fn() -> c_int) -> c_int {
    // SAFETY: The target passes a function that may be called here: the old function calls it as well.
    match unsafe { wait() } {
        0 => 33,
        error => error,
    }
}

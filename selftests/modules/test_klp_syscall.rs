// SPDX-License-Identifier: GPL-2.0

//! Replaces `getpid()` under processes that call it all the time, and tells how many have not come by yet.

use kernel::{
    bindings::pt_regs,
    current,
    ffi::c_long,
    fmt,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

const MAX_PIDS: usize = 128;

klp::param! {
    static KLP_PIDS("klp_pids"): [i32; MAX_PIDS], 0, "the processes that are to call the new getpid()"
}

klp::livepatch! {
    type: Getpid,
    name: "test_klp_syscall",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: a system call",
    license: "GPL",
    files: "test_klp_syscall" [Npids],
    objects: [
        vmlinux {
            functions: [
                // SAFETY: The declaration is that of every system call with a wrapper; the replacement returns what
                // the old one does.
                unsafe fn (syscall getpid)(*const pt_regs) -> c_long = lp_sys_getpid,
            ],
        },
    ],
}

/// The processes that have not called the new function yet; 0 in the place of one that has.
static PIDS: [Atomic<i32>; MAX_PIDS] = [const { Atomic::new(0) }; MAX_PIDS];

/// How many of [`PIDS`] are not 0.
static PENDING: Atomic<i32> = Atomic::new(0);

struct Getpid;

impl klp::Livepatch for Getpid {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        for (place, pid) in PIDS.iter().zip(KLP_PIDS.iter()) {
            place.store(pid, Relaxed);
        }
        PENDING.store(KLP_PIDS.len() as i32, Relaxed);
        Ok(Self)
    }
}

/// The file that shows how many are pending.
struct Npids;

#[vtable]
impl klp::Attribute for Npids {
    const NAME: &'static CStr = c"npids";

    fn show() -> Result<impl fmt::Display> {
        Ok(PENDING.load(Relaxed))
    }
}

unsafe extern "C" fn lp_sys_getpid(_regs: *const pt_regs) -> c_long {
    let task = current!();
    // Only the process itself takes its number out, so no order with anything else matters.
    if PENDING.load(Relaxed) > 0 {
        let mine = |place: &Atomic<i32>| place.cmpxchg(task.pid(), 0, Relaxed).is_ok();
        if PIDS.iter().any(mine) {
            PENDING.fetch_sub(1, Relaxed);
        }
    }
    task.tgid_nr_ns(None) as c_long
}

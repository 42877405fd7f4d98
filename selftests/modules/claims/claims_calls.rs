// SPDX-License-Identifier: GPL-2.0

//! Replaces system calls by their 64-bit entries, and a function of a target that tasks sleep in.

use kernel::{
    bindings::pt_regs,
    error::code::ENODEV,
    ffi::{
        c_int,
        c_long, //
    }, //
};

klp::livepatch! {
    name: "claims_calls",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: system calls and sleepers",
    license: "GPL",
    objects: [
        vmlinux {
            functions: [
                // SAFETY: The declaration is that of every system call with a wrapper; only the test makes this call.
                unsafe fn (syscall epoll_wait)(*const pt_regs) -> c_long = no_epoll_wait,
                // SAFETY: As above; arm64 has no other.
                unsafe fn (syscall epoll_pwait)(*const pt_regs) -> c_long = no_epoll_wait,
                // SAFETY: As above; any number is as good as another to who asks.
                unsafe fn (syscall getppid)(*const pt_regs) -> c_long = answer_long,
                // SAFETY: As above.
                unsafe fn (syscall getpgid)(*const pt_regs) -> c_long = answer_long,
            ],
        },
        "claims_target" {
            functions: [
                // SAFETY: The declaration is that of claims_functions.c; its caller prints the answer.
                unsafe fn claims_sleep() -> c_int = answer,
            ],
        },
    ],
}

unsafe extern "C" fn no_epoll_wait(_regs: *const pt_regs) -> c_long {
    ENODEV.to_errno() as c_long
}

unsafe extern "C" fn answer_long(_regs: *const pt_regs) -> c_long {
    42
}

unsafe extern "C" fn answer() -> c_int {
    42
}

// SPDX-License-Identifier: GPL-2.0

//! Sends the callers of code that ftrace cannot reach to a replacement.
//!
//! Assembly and Rust functions have no `__fentry__` call, so the kernel refuses to patch them. A [`Redirect`] puts a
//! kernel probe on their first instruction, whose handler lets the caller go on in the replacement.
//!
//! C header: [`include/linux/kprobes.h`](srctree/include/linux/kprobes.h)

use kernel::{
    container_of,
    error::to_result,
    ffi::{
        c_int,
        c_ulong, //
    },
    prelude::*,
    str::CStr,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

use crate::{
    bindings,
    symbol,
    Object, //
};

// Where no task is preempted in the kernel, the kernel has no Tasks RCU, and says that this is the same.
#[cfg(not(CONFIG_TASKS_RCU))]
use bindings::synchronize_rcu as synchronize_rcu_tasks;
#[cfg(CONFIG_TASKS_RCU)]
use bindings::synchronize_rcu_tasks;

/// One routine whose callers are sent elsewhere, as listed under `redirects` of an object of
/// [`livepatch!`](crate::livepatch!).
///
/// For code that ftrace cannot reach: assembly, and `extern "C"` functions in Rust. Each entry declares the routine as a C
/// header would and names the replacement behind `=`. Where a header does declare it, the compiler compares; else the entry
/// begins with `unsafe`. A condition behind `where` is asked when the object is about to be patched.
///
/// ```ignore
/// "asm_target" {
///     redirects: [
///         // SAFETY: The declaration is that of checksum.S; the replacement computes and returns.
///         unsafe fn asm_target_checksum(*const u16, usize) -> u16 = checksum,
///     ],
/// },
/// ```
///
/// The patch does the rest, around the callbacks of the object:
///
/// - before pre-patch it checks and registers, which can fail and refuse; nothing changes for the callers yet;
/// - before post-patch it sends them to the replacements, after pre-unpatch back, both of which cannot fail;
/// - before post-unpatch it takes the probes away, and waits until nobody is left in a replacement.
///
/// A replaced patch (`replace`) redirects until its module is removed; where its successor redirects the same routine,
/// the successor wins.
///
/// # Errors
///
/// All are logged with the routine's name and the reason:
/// - `ENOENT`: the object has no such symbol;
/// - `EMLINK`: it has several;
/// - `EINVAL`: the kernel allows no probe there: `noinstr`, entry code, `NOKPROBE_SYMBOL()`, no code at all;
/// - `EBUSY`: ftrace does reach it, so that the livepatch core can and should patch it (told on x86-64 only);
/// - `EPERM`: root has switched all probes off;
/// - `EAGAIN`: the object's removal has begun; afterwards the patch can be loaded;
/// - `ENOMEM`.
///
/// # What a replacement may do
///
/// It is called in the context of the routine it replaces, which may be any. In addition:
///
/// - **It must not sleep, block or call `cond_resched()`**, even where its callers may. A replacement may be preempted,
///   and the patch waits for such tasks with [`synchronize_rcu_tasks()`], which waits for each task to leave the run
///   queue or to pass a voluntary context switch. A task that sleeps inside the replacement looks done, and wakes up in
///   freed text. **On PREEMPT_RT this forbids `spinlock_t` and `local_lock` as well**, which sleep there: use a
///   `raw_spinlock_t` or none.
/// - It must not call the routine that it replaces: the call comes back to it.
/// - It must not panic on bad arguments, no more than the routine did.
///
/// # What a routine must be like
///
/// It keeps to the C calling convention. Many routines of `arch/x86/lib` do not: their callers are inline assembly that
/// expects registers to survive which any C or Rust function overwrites, silently. Names that are known for it
/// (`__sw_hweight32`, `__get_user_4`, `rep_movs_alternative`, …; on arm64 `__hwasan_tag_mismatch`) do not compile; for others look at
/// the callers. Often `ALTERNATIVE` has removed the calls anyway.
///
/// The probe stands on the first instruction behind an `ENDBR`. Look at the disassembly: callers that jump behind the
/// first instruction are not redirected, and a loop that comes back to it would leave the routine in its midst. Of Rust
/// functions only `extern "C"` ones have a calling convention that two versions of the compiler agree on, and what was
/// inlined into a caller stays there.
///
/// # What a redirect is not
///
/// - It is not part of the patch's transition. It acts on all callers at once, and a task that is inside the routine,
///   or inside the replacement at the end, finishes there.
/// - It is not for hot paths: each call takes a breakpoint exception, far slower than ftrace's call.
/// - A call made while the processor is in the handler of another probe gets the old routine, also one from an NMI that
///   hit such a handler; the log tells how many, when the patch is disabled. So does every call while root has switched all
///   probes off through `kprobes/enabled` in debugfs: the log tells that, too, and the redirect is back when they are on.
///
/// # arm64
///
/// By `kprobe_brk_handler()` of `arch/arm64/kernel/probes/kprobes.c`, and seen under QEMU's emulation, not on hardware. The probe stands
/// on the very first instruction there.
///
/// [`synchronize_rcu_tasks()`]: srctree/include/linux/rcupdate.h
///
/// # Invariants
///
/// `raw` is registered if `registered` says so, and only the callbacks of one object and the exit of the module,
/// of which one runs at a time, change that. `new` is a function that can stand for the routine `name`.
pub struct Redirect {
    raw: Opaque<bindings::kprobe>,
    registered: Atomic<bool>,
    armed: Atomic<bool>,
    name: &'static CStr,
    new: *const c_void,
    wanted: fn() -> bool,
}

// SAFETY: The kernel accesses `raw` under its own locks, we by the type invariant; the handler only reads the rest.
unsafe impl Sync for Redirect {}

impl Redirect {
    /// From the routine `name` to the function `new`, if `wanted`.
    ///
    /// # Safety
    ///
    /// `new` must have the calling convention and the signature of the routine, do what callers rely on the routine to
    /// do, and keep the rules of [`Redirect`]. The routine must be as described there.
    #[doc(hidden)]
    pub const unsafe fn new(name: &'static CStr, new: *const c_void, wanted: fn() -> bool) -> Self {
        assert!(
            !has_own_convention(name.to_bytes()),
            "callers of this routine expect registers to survive that a function overwrites: it cannot be redirected"
        );
        // INVARIANT: By the duty of this function; nothing is registered.
        Self {
            raw: Opaque::uninit(),
            registered: Atomic::new(false),
            armed: Atomic::new(false),
            name,
            new,
            wanted,
        }
    }

    /// Registers the probe, whose handler does nothing yet.
    fn register(&self, obj: &Object) -> Result {
        // A structure that was registered once keeps an address and flags, for which it would be refused.
        let mut raw = bindings::kprobe {
            pre_handler: Some(enter),
            // Without one the kernel would replace the breakpoint by a jump when it finds the time, and the code that
            // the jump leads to ignores what the handler did to the registers.
            post_handler: Some(keep_breakpoint),
            ..Default::default()
        };
        // SAFETY: `klp_mutex` guards `mod`, which is null for vmlinux.
        let module = unsafe { (*obj.as_raw()).mod_ };
        if obj.is_vmlinux() {
            raw.symbol_name = self.name.as_char_ptr();
        } else {
            // SAFETY: The core runs callbacks of a module only while it is formed and loaded.
            let addr = unsafe { symbol::in_module(module, self.name) }?;
            // SAFETY: As above.
            if unsafe { symbol::no_probe_in_module(module, addr) } {
                return Err(EINVAL);
            }
            raw.addr = addr as *mut bindings::kprobe_opcode_t;
        }

        self.armed.store(false, Relaxed);
        // SAFETY: By the type invariant the probe is not registered, so that nobody else knows of it.
        unsafe { self.raw.get().write(raw) };
        // SAFETY: The probe is complete, and a static of the module, whose exit unregisters it.
        to_result(unsafe { bindings::register_kprobe(self.raw.get()) }).map_err(|errno| {
            // The routine was found, so this is the answer for a module whose removal has begun.
            if !obj.is_vmlinux() && errno == ENOENT {
                EAGAIN
            } else {
                errno
            }
        })?;
        // INVARIANT: It is.
        self.registered.store(true, Relaxed);

        // SAFETY: The registration has written the fields; nobody changes `addr`, and of `flags` not this one.
        let (addr, flags) = unsafe { ((*self.raw.get()).addr, (*self.raw.get()).flags) };
        if obj.is_vmlinux() {
            symbol::is_unique_in_vmlinux(self.name, addr as usize)?;
        }
        if flags & bindings::KPROBE_FLAG_FTRACE != 0 {
            return Err(EBUSY);
        }
        if !self.has_breakpoint() {
            return Err(EPERM);
        }
        Ok(())
    }

    /// Whether the breakpoint is in its place: not while all probes of the kernel are switched off, of which nobody is told.
    fn has_breakpoint(&self) -> bool {
        /// `INT3`
        #[cfg(CONFIG_X86_64)]
        const BREAKPOINT: bindings::kprobe_opcode_t = 0xcc;
        /// `BRK64_OPCODE_KPROBES` of `arch/arm64/include/asm/debug-monitors.h`
        #[cfg(CONFIG_ARM64)]
        const BREAKPOINT: bindings::kprobe_opcode_t = 0xd420_0080;
        // SAFETY: By the type invariant, which the callers see to, the probe is registered: `addr` is text of the object,
        // which is readable, and loaded while its callbacks run.
        unsafe { (*self.raw.get()).addr.read_volatile() == BREAKPOINT }
    }

    /// Of the probes that are registered, those without effect are logged.
    fn complain_if_off(&self, obj: &Object) {
        if !self.has_breakpoint() {
            let name = self.name;
            pr_err!("{obj}: '{name}' is not redirected: all kernel probes are switched off\n");
        }
    }

    fn missed(&self) -> usize {
        // SAFETY: The probe was registered; the kernel counts without a lock, hence volatile.
        unsafe { (&raw const (*self.raw.get()).nmissed).read_volatile() }
    }
}

/// Whether the routine is known to be called with registers in use that the C calling convention gives away.
const fn has_own_convention(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 10] = [
        b"__sw_hweight",
        b"__get_user_",
        b"__put_user_",
        b"rep_movs_alternative",
        b"rep_stos_alternative",
        b"clear_page_",
        b"__raw_callee_save_",
        b"__x86_",
        b"this_cpu_cmpxchg",
        b"__hwasan_",
    ];
    const SUFFIX: &[u8] = b"_thunk";

    let mut p = 0;
    while p < PREFIXES.len() {
        if part_is(name, 0, PREFIXES[p]) {
            return true;
        }
        p += 1;
    }
    name.len() >= SUFFIX.len() && part_is(name, name.len() - SUFFIX.len(), SUFFIX)
}

const fn part_is(name: &[u8], at: usize, part: &[u8]) -> bool {
    let mut i = 0;
    while i < part.len() {
        if at + i >= name.len() || name[at + i] != part[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Registers what is wanted, without effect on the callers. For a pre-patch callback. For `vmlinux` it looks at every
/// symbol of the kernel to see that a name is unique, for some tenths of a second.
pub(crate) fn prepare(obj: &Object, redirects: &'static [Redirect]) -> Result {
    for redirect in redirects.iter().filter(|redirect| (redirect.wanted)()) {
        redirect.register(obj).inspect_err(|&errno| {
            let (name, why, errno) = (redirect.name, reason(errno), errno.to_errno());
            pr_err!("{obj}: cannot redirect '{name}': {why} ({errno})\n");
            remove(redirects);
        })?;
    }
    Ok(())
}

fn registered(redirects: &'static [Redirect]) -> impl Iterator<Item = &'static Redirect> {
    redirects
        .iter()
        .filter(|redirect| redirect.registered.load(Relaxed))
}

/// Sends every call from now on to the replacements.
pub(crate) fn arm(obj: &Object, redirects: &'static [Redirect]) {
    for redirect in registered(redirects) {
        redirect.armed.store(true, Relaxed);
        redirect.complain_if_off(obj);
        pr_info!("{obj}: '{}' is redirected\n", redirect.name);
    }
}

/// Sends every call from now on to the old routines.
pub(crate) fn disarm(obj: &Object, redirects: &'static [Redirect]) {
    for redirect in registered(redirects) {
        redirect.complain_if_off(obj);
        redirect.armed.store(false, Relaxed);
        match (redirect.name, redirect.missed()) {
            (name, 0) => pr_info!("{obj}: '{name}' is no longer redirected\n"),
            (name, missed) => {
                pr_warn!("{obj}: '{name}' is no longer redirected, missed: {missed}\n")
            }
        }
    }
}

/// Takes the probes away and waits until no task is left in a replacement. Process context; sleeps.
pub(crate) fn remove(redirects: &'static [Redirect]) {
    let mut any = false;
    for redirect in registered(redirects) {
        // SAFETY: By the type invariant the probe is registered.
        unsafe { bindings::unregister_kprobe(redirect.raw.get()) };
        // INVARIANT: It is no more.
        redirect.registered.store(false, Relaxed);
        any = true;
    }
    if !any {
        return;
    }
    // No processor is in a handler any more: unregister_kprobe() waits for an RCU grace period, and handlers run with
    // interrupts off. So nobody starts on a replacement, also no interrupt. But whom a handler has sent off may have been
    // preempted on the way through. A task is through when it leaves the processor of its own will. (Tasks RCU ignores
    // idle tasks; code of theirs that RCU does not watch is noinstr, and was refused.)
    // SAFETY: Process context, in which sleeping is allowed.
    unsafe { synchronize_rcu_tasks() };
}

/// What the errno of a refused route means.
fn reason(errno: Error) -> &'static str {
    match errno {
        ENOENT => "the object has no such symbol",
        EMLINK => "the name is not unique",
        EAGAIN => "the object is being removed, so try again",
        EINVAL => "the kernel allows no probe there",
        EBUSY => "ftrace reaches it, so list it under `functions`",
        EPERM => "all kernel probes are switched off (debugfs: kprobes/enabled)",
        _ => "it cannot be probed",
    }
}

/// Lets the caller go on in the replacement, with all registers and the stack as they were at the call.
///
/// # Safety
///
/// As a kprobe's `pre_handler`, for the kprobe of a [`Redirect`].
unsafe extern "C" fn enter(probe: *mut bindings::kprobe, regs: *mut bindings::pt_regs) -> c_int {
    let raw = Opaque::cast_from(probe).cast_mut();
    // SAFETY: The kernel calls the handler with the kprobe of a `Redirect`, which is a static.
    let redirect = unsafe { &*container_of!(raw, Redirect, raw) };
    if !redirect.armed.load(Relaxed) {
        return 0;
    }
    // SAFETY: The registers are those of the caller, which is about to enter the routine.
    #[cfg(CONFIG_X86_64)]
    unsafe {
        (*regs).ip = redirect.new as c_ulong;
    }
    // SAFETY: As above. All members of the union begin as this one does (arch/arm64/include/asm/ptrace.h).
    #[cfg(CONFIG_ARM64)]
    unsafe {
        (*regs).__bindgen_anon_1.user_regs.pc = redirect.new as u64;
    }
    // The registers are set: do not run the probed instruction.
    1
}

/// Does nothing: that there is one keeps the breakpoint a breakpoint.
extern "C" fn keep_breakpoint(
    _probe: *mut bindings::kprobe,
    _regs: *mut bindings::pt_regs,
    _flags: c_ulong,
) {
}

/// The author's callbacks `$ops` with the `$redirects` around them.
#[doc(hidden)]
#[macro_export]
macro_rules! redirects {
    ($ops:ident, $entries:expr, $redirects:expr) => {{
        const LEN: usize = <[()]>::len(&$entries);
        static REDIRECTS: [$crate::internal::Redirect; LEN] = $redirects;

        struct Here;

        impl $crate::internal::Redirected for Here {
            const OPS: $crate::internal::Ops = $ops;

            fn redirects() -> &'static [$crate::internal::Redirect] {
                &REDIRECTS
            }
        }
        $crate::internal::Ops::redirected::<Here>()
    }};
}

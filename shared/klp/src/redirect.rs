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

/// The routine to leave and the function to enter instead; [`routes!`](crate::routes!) makes it.
pub struct Route {
    name: &'static CStr,
    new: *const c_void,
}

// SAFETY: The pointer is the address of a function.
unsafe impl Send for Route {}

// SAFETY: As for `Send`.
unsafe impl Sync for Route {}

impl Route {
    /// From the routine `name` to the function `new`.
    ///
    /// # Safety
    ///
    /// `new` must be a function of the module that prepares the redirect. It must have the calling convention and the
    /// signature of the routine, do what callers rely on the routine to do, and keep the rules of [`Redirect`]: above
    /// all it never sleeps, and never calls the routine. The routine must be as described there.
    pub const unsafe fn new(name: &'static CStr, new: *const c_void) -> Self {
        Self { name, new }
    }
}

/// Declares routines and their replacements, as an array of [`Route`].
///
/// Each entry declares the routine as a C header would and names the replacement behind `=`. It begins with `unsafe`,
/// because nobody can compare the declaration with the routine; the duties are those of [`Route::new`].
///
/// # Examples
///
/// ```ignore
/// static ROUTES: [klp::Route; 1] = klp::routes![
///     // SAFETY: The declaration is that of checksum.S; the replacement computes and returns.
///     unsafe fn asm_target_checksum(*const u8, usize) -> u16 = checksum,
/// ];
/// ```
#[macro_export]
macro_rules! routes {
    ($( $(#[$attr:meta])* unsafe fn $old:tt ( $($arg:ty),* $(,)? ) $(-> $ret:ty)? = $new:path ),* $(,)?) => {
        [$(
            $(#[$attr])*
            {
                let new: unsafe extern "C" fn($($arg),*) $(-> $ret)? = $new;
                // SAFETY: The author vouches for the declaration.
                unsafe { $crate::Route::new($crate::livepatch!(@name $old), new as *const _) }
            },
        )*]
    };
}

/// Routines of one object whose callers are sent elsewhere.
///
/// For code that ftrace cannot reach: assembly, and `extern "C"` functions in Rust. Keep it in the state of
/// [`StatefulCallbacks`](crate::StatefulCallbacks):
///
/// - pre-patch: [`prepare`](Redirect::prepare), which can fail; nothing changes for the callers yet;
/// - post-patch: [`arm`](Redirect::arm), which cannot;
/// - pre-unpatch: [`disarm`](Redirect::disarm);
/// - post-unpatch: drop it. This alone waits until nobody is left in a replacement.
///
/// Dropping it also takes away what is still armed. That is no revert: the probe is part of the state, and leads into
/// the text of a module that is about to go. A replaced patch (`replace`) therefore redirects until its module is
/// removed; where its successor redirects the same routine, the successor wins.
///
/// # What a replacement may do
///
/// It is called in the context of the routine it replaces, which may be any. In addition:
///
/// - **It must not sleep, block or call `cond_resched()`**, even where its callers may. A replacement may be preempted,
///   and dropping the redirect waits for such tasks with [`synchronize_rcu_tasks()`], which waits for each task to pass
///   a voluntary context switch. A task that sleeps inside the replacement looks done, and wakes up in freed text.
/// - It must not call the routine that it replaces: the call comes back to it.
/// - It must not panic on bad arguments, no more than the routine did.
///
/// # What a routine must be like
///
/// The probe stands on the first instruction behind an `ENDBR`. Look at the disassembly: callers that jump behind the
/// first instruction are not redirected, and a loop that comes back to it would leave the routine in its midst. Of Rust
/// functions only `extern "C"` ones have a calling convention that two versions of the compiler agree on, and what was
/// inlined into a caller stays there.
///
/// # What a redirect is not
///
/// - It is not part of the patch's transition. `arm` acts on all callers at once, while other tasks still use old
///   functions of the same patch, and a task that was inside the routine finishes there.
/// - It is not for hot paths: each call takes a breakpoint exception, far slower than ftrace's call.
/// - A call made while the processor is in the handler of another probe (also from an NMI that hit one) gets the old
///   routine; [`missed`](Redirect::missed) counts these. So does every call while root has switched all probes off
///   through `kprobes/enabled` in debugfs.
///
/// [`synchronize_rcu_tasks()`]: srctree/include/linux/rcupdate.h
pub struct Redirect {
    probes: KVec<Pin<KBox<Probe>>>,
}

impl Redirect {
    /// Checks and registers the routes, without effect on the callers.
    ///
    /// For a pre-patch callback of `obj`, to which the routines must belong. Process context; may sleep. For `vmlinux`
    /// it looks at every symbol of the kernel to see that a name is unique, for some tenths of a second.
    ///
    /// # Errors
    ///
    /// All are logged with the routine's name and the reason:
    /// - `ENOENT`: the object has no such symbol;
    /// - `EINVAL`: the kernel allows no probe there: `noinstr`, entry code, `NOKPROBE_SYMBOL()`, no code at all;
    /// - `EBUSY`: ftrace does reach it, so that the livepatch core can and should patch it;
    /// - `EAGAIN`: the object's removal has begun; afterwards the patch can be loaded;
    /// - `ENOMEM`.
    pub fn prepare(obj: &Object, routes: &'static [Route]) -> Result<Self> {
        let mut probes = KVec::with_capacity(routes.len(), GFP_KERNEL)?;
        for route in routes {
            let probe = Probe::register(obj, route).inspect_err(|&errno| {
                let (name, why, errno) = (route.name, reason(errno), errno.to_errno());
                pr_err!("{obj}: cannot redirect '{name}': {why} ({errno})\n");
            })?;
            probes.push(probe, GFP_KERNEL)?;
        }
        Ok(Self { probes })
    }

    /// Sends every call from now on to the replacements. May be called again after [`disarm`](Redirect::disarm).
    ///
    /// A task that is in an old routine, perhaps preempted, finishes there. Process context; may sleep.
    pub fn arm(&self) {
        for probe in &self.probes {
            probe.enable();
        }
    }

    /// Sends every call from now on to the old routines.
    ///
    /// A task that is in a replacement, perhaps preempted, finishes there. Process context; may sleep.
    pub fn disarm(&self) {
        for probe in &self.probes {
            probe.disable();
        }
    }

    /// How many calls went to an old routine since [`prepare`](Redirect::prepare), although it was armed, because the
    /// processor was in the handler of another probe.
    pub fn missed(&self) -> usize {
        self.probes.iter().map(|probe| probe.missed()).sum()
    }
}

impl Drop for Redirect {
    /// Takes the probes away and waits until no task is left in a replacement. Process context; sleeps.
    fn drop(&mut self) {
        // Afterwards no processor is in a handler: unregister_kprobe() waits for an RCU grace period, and handlers run
        // with interrupts off. So nobody starts on a replacement any more, also no interrupt.
        self.probes.clear();
        // Whom a handler has sent off may have been preempted on the way through a replacement. A task is through when
        // it leaves the processor of its own will. (Tasks RCU ignores idle tasks; code of theirs that RCU does not
        // watch is noinstr, and was refused.)
        // SAFETY: Process context, in which sleeping is allowed.
        unsafe { synchronize_rcu_tasks() };
    }
}

/// What the errno of a refused route means.
fn reason(errno: Error) -> &'static str {
    match errno {
        ENOENT => "the object has no such symbol",
        EMLINK => "the name is not unique",
        EAGAIN => "the object is being removed, so try again",
        EINVAL => "the kernel allows no probe there",
        EBUSY => "ftrace reaches it, so list it under `functions`",
        _ => "it cannot be probed",
    }
}

/// A registered probe and where it leads.
///
/// Each is registered once and never again: a `struct kprobe` that was registered keeps an address and flags, for which
/// `register_kprobe()` refuses it.
///
/// # Invariants
///
/// `raw` is registered, and `new` is what a [`Route`] promises.
#[pin_data(PinnedDrop)]
struct Probe {
    #[pin]
    raw: Opaque<bindings::kprobe>,
    new: *const c_void,
}

// SAFETY: The kprobe API may be called by any task; `new` is the address of a function.
unsafe impl Send for Probe {}

// SAFETY: `kprobe_mutex` serializes all calls, and the handler only reads `new`.
unsafe impl Sync for Probe {}

impl Probe {
    /// A disabled probe on the routine of `obj` that `route` names.
    fn register(obj: &Object, route: &Route) -> Result<Pin<KBox<Self>>> {
        let mut raw = bindings::kprobe {
            pre_handler: Some(enter),
            // Without one the kernel would replace the breakpoint by a jump when it finds the time, and the code that
            // the jump leads to ignores what the handler did to the registers.
            post_handler: Some(keep_breakpoint),
            flags: bindings::KPROBE_FLAG_DISABLED,
            ..Default::default()
        };
        // SAFETY: `klp_mutex` guards `mod`, which is null for vmlinux.
        let module = unsafe { (*obj.as_raw()).mod_ };
        if obj.is_vmlinux() {
            raw.symbol_name = route.name.as_char_ptr();
        } else {
            // SAFETY: The core runs callbacks of a module only while it is formed and loaded.
            let addr = unsafe { symbol::in_module(module, route.name) }?;
            // SAFETY: As above.
            if unsafe { symbol::no_probe_in_module(module, addr) } {
                return Err(EINVAL);
            }
            raw.addr = addr as *mut bindings::kprobe_opcode_t;
        }

        // INVARIANT: Registered, or not there at all.
        let probe = KBox::try_pin_init(
            try_pin_init!(Self {
                raw <- Opaque::try_ffi_init(|slot: *mut bindings::kprobe| {
                    // SAFETY: The slot is valid for writes, and pinned from now on.
                    unsafe { slot.write(raw) };
                    // SAFETY: The probe is initialized, and stays in its place until `drop` has unregistered it.
                    to_result(unsafe { bindings::register_kprobe(slot) })
                }),
                new: route.new,
            }? Error),
            GFP_KERNEL,
        )
        // The routine was found, so this is the answer for a module whose removal has begun.
        .map_err(|errno| {
            if !obj.is_vmlinux() && errno == ENOENT {
                EAGAIN
            } else {
                errno
            }
        })?;

        // SAFETY: The registration has written the fields; nobody changes `addr`, and of `flags` not this one.
        let (addr, flags) = unsafe { ((*probe.raw.get()).addr, (*probe.raw.get()).flags) };
        if obj.is_vmlinux() {
            symbol::is_unique_in_vmlinux(route.name, addr as usize)?;
        }
        if flags & bindings::KPROBE_FLAG_FTRACE != 0 {
            return Err(EBUSY);
        }
        Ok(probe)
    }

    fn enable(&self) {
        // SAFETY: By the type invariant the probe is registered.
        let ret = unsafe { bindings::enable_kprobe(self.raw.get()) };
        // It fails for a target whose exit has run, whose routines nobody calls any more, and for ftrace's probes.
        if ret != 0 {
            pr_err!("a redirect cannot be armed ({ret})\n");
        }
    }

    fn disable(&self) {
        // SAFETY: By the type invariant the probe is registered. For a registered one that ftrace has no part in it
        // cannot fail.
        unsafe { bindings::disable_kprobe(self.raw.get()) };
    }

    fn missed(&self) -> usize {
        // SAFETY: By the type invariant the probe is there; the kernel counts without a lock, hence volatile.
        unsafe { (&raw const (*self.raw.get()).nmissed).read_volatile() }
    }
}

#[pinned_drop]
impl PinnedDrop for Probe {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the probe is registered. Process context, in which sleeping is allowed.
        unsafe { bindings::unregister_kprobe(self.raw.get()) };
    }
}

/// Lets the caller go on in the replacement, with all registers and the stack as they were at the call.
///
/// # Safety
///
/// As a kprobe's `pre_handler`, for the kprobe of a [`Probe`].
unsafe extern "C" fn enter(probe: *mut bindings::kprobe, regs: *mut bindings::pt_regs) -> c_int {
    let raw = Opaque::cast_from(probe).cast_mut();
    // SAFETY: The kernel calls the handler with the kprobe of a `Probe`, and never after it was unregistered.
    let probe = unsafe { &*container_of!(raw, Probe, raw) };
    // SAFETY: The registers are those of the caller, which is about to enter the routine.
    unsafe { (*regs).ip = probe.new as c_ulong };
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

// SPDX-License-Identifier: GPL-2.0

//! Lets one allocation fail, or one call of a function: the kernel's fault injection, for kernels that are built without.
//!
//! What is met while the task `pid` loads a module, or with 0 while a livepatch's transition ends in any task, counts `nth`
//! down, and fails when that comes to 0. Interrupts do not count, nor does `__GFP_NOFAIL`.
//!
//! A function that fails must return an integer or a pointer. Its caller sees what it would see if the function had done
//! nothing, so choose a value that the function really returns.

mod probe;

use kernel::{
    ffi::{
        c_int,
        c_long,
        c_ulong, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use probe::Probe;

klp::bindings!();

module! {
    type: Fault,
    name: "fault",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: an allocation fails, or a call of a kernel function",
    license: "GPL",
}

klp::param! {
    static CALLS("calls"): [usize; 64], 0o400, "functions that can be told to fail: where they begin, as in /proc/kallsyms"
}
klp::param! {
    static ADDRESS("address"): usize = 0, 0o600, "the one whose calls count; 0 for the allocations"
}
klp::param! {
    static RETVAL("retval"): i32 = 0, 0o600, "what it answers instead of doing anything"
}
klp::param! {
    static PID("pid"): i32 = 0, 0o600, "the task that loads a module; 0 for the end of a transition"
}
klp::param! {
    static NTH("nth"): u32 = 0, 0o600, "which one fails, from 1 on; how many more it takes"
}

const SCOPES: [(&CStr, bindings::kretprobe_handler_t); 3] = [
    (c"__x64_sys_finit_module", Some(enter::<false>)),
    (c"klp_complete_transition", Some(enter::<true>)),
    // ftrace needs memory to let go of a function; the livepatch core answers with a WARN when there is none.
    (c"klp_unpatch_objects", Some(spare)),
];

// What the configuration puts before the argument that says how to allocate.
const TOKEN: usize = cfg!(CONFIG_KMALLOC_PARTITION_CACHES) as usize;
const BUCKETS: usize = cfg!(CONFIG_SLAB_BUCKETS) as usize + TOKEN;

/// The ways into the kernel's allocators. What these call among themselves counts again.
const ALLOCATIONS: [(&CStr, bindings::kprobe_pre_handler_t); 13] = [
    (c"__kmalloc_noprof", Some(allocate::<{ 1 + TOKEN }>)),
    (c"__kmalloc_node_noprof", Some(allocate::<{ 1 + BUCKETS }>)),
    (
        c"__kmalloc_node_track_caller_noprof",
        Some(allocate::<{ 1 + BUCKETS }>),
    ),
    (c"__kvmalloc_node_noprof", Some(allocate::<{ 2 + BUCKETS }>)),
    (c"__kmalloc_cache_noprof", Some(allocate::<1>)),
    (c"__kmalloc_cache_node_noprof", Some(allocate::<1>)),
    (c"kmem_cache_alloc_noprof", Some(allocate::<1>)),
    (c"kmem_cache_alloc_lru_noprof", Some(allocate::<2>)),
    (c"kmem_cache_alloc_node_noprof", Some(allocate::<1>)),
    (c"kmem_cache_alloc_bulk_noprof", Some(allocate::<1>)),
    (c"pcpu_alloc_noprof", Some(allocate::<3>)),
    (c"__alloc_frozen_pages_noprof", Some(allocate::<0>)),
    (c"alloc_pages_bulk_noprof", Some(allocate::<0>)),
];

/// The stack pointer where the scope was entered, while something is in it.
static TOP: Atomic<usize> = Atomic::new(0);

/// Is this in the scope, and does not count?
static SPARED: Atomic<bool> = Atomic::new(false);

struct Fault {
    _scopes: KVec<Pin<KBox<Probe<bindings::kretprobe>>>>,
    _probes: KVec<Pin<KBox<Probe>>>,
}

impl kernel::Module for Fault {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let (mut scopes, mut probes) = (KVec::new(), KVec::new());
        for (name, entry_handler) in SCOPES {
            let probe = Probe::register(bindings::kretprobe {
                kp: at(name),
                entry_handler,
                handler: Some(leave),
                ..Default::default()
            });
            scopes.push(KBox::pin_init(probe, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let allocations = ALLOCATIONS.map(|(name, handler)| (name, at(name), handler));
        let calls = CALLS.iter().filter(|address| *address != 0).map(|address| {
            let addr = address as *mut bindings::kprobe_opcode_t;
            let place = bindings::kprobe {
                addr,
                ..Default::default()
            };
            (c"a call", place, Some(call as _))
        });
        for (name, place, pre_handler) in Iterator::chain(allocations.into_iter(), calls) {
            let probe = Probe::register(bindings::kprobe {
                pre_handler,
                // A probe without one must not change the instruction pointer.
                post_handler: Some(keep_breakpoint),
                ..place
            });
            let probe = KBox::pin_init(probe, GFP_KERNEL)
                .inspect_err(|_| pr_err!("{name:?} cannot be probed\n"))?;
            probes.push(probe, GFP_KERNEL)?;
        }
        Ok(Self {
            _scopes: scopes,
            _probes: probes,
        })
    }
}

fn at(name: &'static CStr) -> bindings::kprobe {
    bindings::kprobe {
        symbol_name: name.as_char_ptr(),
        ..Default::default()
    }
}

/// # Safety
///
/// As a kretprobe's `entry_handler`.
unsafe extern "C" fn enter<const COMPLETE: bool>(
    _instance: *mut bindings::kretprobe_instance,
    regs: *mut bindings::pt_regs,
) -> c_int {
    let pid = if COMPLETE { 0 } else { current!().pid() };
    if pid != PID.get() || NTH.get() == 0 {
        return 1;
    }
    // SAFETY: The registers are those of the caller.
    TOP.store(unsafe { (*regs).sp } as usize, Relaxed);
    0
}

/// # Safety
///
/// As a kretprobe's `entry_handler`.
unsafe extern "C" fn spare(
    _instance: *mut bindings::kretprobe_instance,
    regs: *mut bindings::pt_regs,
) -> c_int {
    // SAFETY: The registers are those of the caller.
    if !is_below(unsafe { &*regs }) {
        return 1;
    }
    SPARED.store(true, Relaxed);
    0
}

/// What `spare` or `enter` has begun ends.
extern "C" fn leave(
    _instance: *mut bindings::kretprobe_instance,
    _regs: *mut bindings::pt_regs,
) -> c_int {
    if !SPARED.xchg(false, Relaxed) {
        TOP.store(0, Relaxed);
    }
    0
}

/// Is this on the stack on which the scope was entered, and deeper? Interrupts have stacks of their own.
fn is_below(regs: &bindings::pt_regs) -> bool {
    let (sp, top) = (regs.sp as usize, TOP.load(Relaxed));
    sp < top && (sp ^ top) < PAGE_SIZE << bindings::THREAD_SIZE_ORDER
}

/// # Safety
///
/// As a kprobe's `pre_handler`, on the first instruction of a function whose argument `FLAGS` says how to allocate.
unsafe extern "C" fn allocate<const FLAGS: usize>(
    _probe: *mut bindings::kprobe,
    regs: *mut bindings::pt_regs,
) -> c_int {
    // SAFETY: The registers are those of the caller, which is about to enter the function.
    let regs = unsafe { &mut *regs };
    let flags = [regs.di, regs.si, regs.dx, regs.cx, regs.r8][FLAGS];
    let counts = ADDRESS.get() == 0 && flags & (1 << bindings::___GFP_NOFAIL_BIT) == 0;
    (counts && fail(regs)).into()
}

/// # Safety
///
/// As a kprobe's `pre_handler`, on the first instruction of a function as the module's documentation asks for.
unsafe extern "C" fn call(probe: *mut bindings::kprobe, regs: *mut bindings::pt_regs) -> c_int {
    // SAFETY: The probe is registered. kprobes have stepped over an `endbr64`.
    let address = unsafe { (*probe).addr } as usize & !0xf;
    // SAFETY: As in `allocate`.
    (address == ADDRESS.get() && fail(unsafe { &mut *regs })).into()
}

/// Counts one, and lets it fail if it is its turn: then the probed function must not run.
fn fail(regs: &mut bindings::pt_regs) -> bool {
    let nth = NTH.get();
    if nth == 0 || !is_below(regs) || SPARED.load(Relaxed) {
        return false;
    }
    let left = (&raw const NTH).cast_mut().cast::<u32>();
    // SAFETY: A parameter is its value, in a cell. No other task is in the scope and counts.
    unsafe { left.write_volatile(nth - 1) };
    if nth == 1 {
        regs.ip = answer as *const () as c_ulong;
    }
    nth == 1
}

/// Takes the place of the call that fails.
extern "C" fn answer() -> c_long {
    RETVAL.get() as c_long
}

/// Does nothing; it is enough that it is there.
extern "C" fn keep_breakpoint(
    _probe: *mut bindings::kprobe,
    _regs: *mut bindings::pt_regs,
    _flags: c_ulong,
) {
}

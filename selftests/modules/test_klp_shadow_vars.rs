// SPDX-License-Identifier: GPL-2.0

//! Attaches, finds and frees shadow variables, and logs each call.
//!
//! The log shows no addresses but the order in which they were first seen.

use core::{
    mem::size_of,
    ptr, //
};

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use klp::{
    Shadow,
    ShadowRef, //
};

module! {
    type: ShadowVars,
    name: "test_klp_shadow_vars",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: shadow variables",
    license: "GPL",
}

/// What the variables are attached to.
struct Parent(#[expect(dead_code)] u64);

/// What the variables point to.
struct Field {
    parent: &'static Parent,
}

static PARENTS: [Parent; 3] = [Parent(0), Parent(1), Parent(2)];
static FIELDS1: [Field; 3] = fields();
static FIELDS2: [Field; 3] = fields();

const fn fields() -> [Field; 3] {
    [
        Field {
            parent: &PARENTS[0],
        },
        Field {
            parent: &PARENTS[1],
        },
        Field {
            parent: &PARENTS[2],
        },
    ]
}

/// A shadow variable: a pointer to a field.
trait Variable: klp::FixedLayout + Send + Sync + 'static {
    fn new(field: &'static Field) -> Self;
    fn field(&self) -> &'static Field;
}

/// A variable that is dropped before its memory is freed.
struct Dropped(&'static Field);

impl Variable for Dropped {
    fn new(field: &'static Field) -> Self {
        Self(field)
    }

    fn field(&self) -> &'static Field {
        self.0
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        let (parent, me) = (id(self.0.parent), id(self));
        pr_info!("shadow_dtor(obj=PTR{parent}, shadow_data=PTR{me})\n");
    }
}

/// A variable whose memory is freed, and nothing else.
struct Plain(&'static Field);

impl Variable for Plain {
    fn new(field: &'static Field) -> Self {
        Self(field)
    }

    fn field(&self) -> &'static Field {
        self.0
    }
}

// SAFETY: A pointer; that it leads into this module does no harm, as no other one uses the ids.
unsafe impl klp::FixedLayout for Dropped {}
// SAFETY: As for `Dropped`.
unsafe impl klp::FixedLayout for Plain {}

// SAFETY: No other module uses these ids, and the init below frees all of its variables.
static SHADOW1: Shadow<Parent, Dropped> = unsafe { Shadow::new(0x1234) };
// SAFETY: As for `SHADOW1`.
static SHADOW2: Shadow<Parent, Plain> = unsafe { Shadow::new(0x1235) };

/// The addresses that were seen, each with 1 added, so that 0 stands for none.
static SEEN: [Atomic<usize>; 32] = [const { Atomic::new(0) }; 32];

/// The number of an address. Takes no lock: constructors and destructors run in atomic context.
fn id<T>(address: *const T) -> usize {
    let address = address.addr() + 1;
    let mine = |seen: &Atomic<usize>| match seen.load(Relaxed) {
        0 => seen.cmpxchg(0, address, Relaxed).is_ok(),
        other => other == address,
    };
    SEEN.iter().position(mine).unwrap_or(SEEN.len())
}

fn id_of<T>(variable: &Option<ShadowRef<T>>) -> usize {
    id(variable
        .as_ref()
        .map_or(ptr::null(), |variable| ptr::from_ref::<T>(variable)))
}

fn construct<T: Variable>(field: &'static Field) -> impl PinInit<T, Error> {
    let construct = move |slot: *mut T| {
        // SAFETY: The slot is room for a `T`.
        unsafe { slot.write(T::new(field)) };
        pr_info!("shadow_ctor: PTR{} -> PTR{}\n", id(slot), id(field));
        Ok(())
    };
    // SAFETY: The closure writes the whole value, and never fails.
    unsafe { pin_init::pin_init_from_closure(construct) }
}

/// Stands in the log for the function that constructs, which is one for each type.
static CTOR: u8 = 0;
/// Stands in the log for the function that destroys.
static DTOR: u8 = 0;

fn get<T: Variable>(shadow: &Shadow<Parent, T>, parent: &'static Parent) -> Option<ShadowRef<T>> {
    let variable = shadow.get(parent);
    let (obj, key, found) = (id(parent), shadow.id(), id_of(&variable));
    pr_info!("klp_shadow_get(obj=PTR{obj}, id={key:#x}) = PTR{found}\n");
    variable
}

fn attach<T: Variable>(
    shadow: &Shadow<Parent, T>,
    field: &'static Field,
    may_exist: bool,
) -> Result<ShadowRef<T>> {
    let init = construct::<T>(field);
    let (name, variable) = if may_exist {
        let variable = shadow.get_or_alloc(field.parent, GFP_KERNEL, init);
        ("klp_shadow_get_or_alloc", variable?)
    } else {
        let variable = shadow.alloc(field.parent, GFP_KERNEL, init);
        ("klp_shadow_alloc", variable?)
    };
    let (obj, key, size) = (id(field.parent), shadow.id(), size_of::<T>());
    let (ctor, data, found) = (id(&CTOR), id(field), id::<T>(&*variable));
    pr_info!(
        "{name}(obj=PTR{obj}, id={key:#x}, size={size:x}, gfp_flags=GFP_KERNEL), \
         ctor=PTR{ctor}, ctor_data=PTR{data} = PTR{found}\n"
    );
    Ok(variable)
}

/// Logs that the variable is the one that was attached, which must point to `field`.
fn expect<T: Variable>(variable: Option<ShadowRef<T>>, field: &'static Field) -> Result {
    let variable = variable.ok_or(EINVAL)?;
    if ptr::eq(variable.field(), field) {
        let (found, data) = (id::<T>(&*variable), id(field));
        pr_info!("  got expected PTR{found} -> PTR{data} result\n");
    }
    Ok(())
}

fn expect_none<T: Variable>(variable: Option<ShadowRef<T>>) {
    if variable.is_none() {
        pr_info!("  got expected NULL result\n");
    }
}

fn passes() -> Result {
    id(ptr::null::<u8>());
    expect_none(get(&SHADOW1, &PARENTS[0]));

    for (i, (field1, field2)) in FIELDS1.iter().zip(&FIELDS2).enumerate() {
        id(field1);
        attach(&SHADOW1, field1, i % 2 == 0)?;
        id(field2);
        attach(&SHADOW2, field2, false)?;
    }
    for (field1, field2) in FIELDS1.iter().zip(&FIELDS2) {
        expect(get(&SHADOW1, field1.parent), field1)?;
        expect(get(&SHADOW2, field2.parent), field2)?;
    }
    for field in &FIELDS1 {
        expect(Some(attach(&SHADOW1, field, true)?), field)?;
    }
    for parent in &PARENTS {
        // SAFETY: No reference is left, and nobody else knows the id.
        unsafe { SHADOW1.drop_and_free(parent) };
        let (obj, key, dtor) = (id(parent), SHADOW1.id(), id(&DTOR));
        pr_info!("klp_shadow_free(obj=PTR{obj}, id={key:#x}, dtor=PTR{dtor})\n");
        expect_none(get(&SHADOW1, parent));
    }
    for field in &FIELDS2 {
        expect(get(&SHADOW2, field.parent), field)?;
    }
    SHADOW2.free_all();
    let none = id(ptr::null::<u8>());
    pr_info!(
        "klp_shadow_free_all(id={:#x}, dtor=PTR{none})\n",
        SHADOW2.id()
    );
    for parent in &PARENTS {
        expect_none(get(&SHADOW2, parent));
    }
    Ok(())
}

struct ShadowVars;

impl kernel::Module for ShadowVars {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let result = passes();
        if result.is_err() {
            // SAFETY: `passes` has returned, and its references with it.
            unsafe { SHADOW1.drop_and_free_all() };
            SHADOW2.free_all();
        }
        result.map(|()| Self)
    }
}

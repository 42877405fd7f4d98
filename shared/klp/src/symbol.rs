// SPDX-License-Identifier: GPL-2.0

//! Finds where a symbol of an object stands, and whether another one has the same name.
//!
//! `kallsyms_lookup_name()` is not exported, and would return any one of several symbols. A module's own table is open
//! to read; of the kernel's, only the way from an address to a name is exported.
//!
//! C headers: [`include/linux/module.h`](srctree/include/linux/module.h),
//! [`include/linux/kallsyms.h`](srctree/include/linux/kallsyms.h)

use kernel::{
    ffi::c_char,
    prelude::*,
    str::CStr,
    sync::rcu, //
};

use crate::bindings;

/// The address of the symbol `name` of a module.
///
/// # Errors
///
/// `ENOENT` when there is no such symbol, `EMLINK` when there are several.
///
/// # Safety
///
/// `module` must be past [`MODULE_STATE_UNFORMED`](srctree/include/linux/module.h) and stay loaded during the call.
pub(crate) unsafe fn in_module(module: *const bindings::module, name: &CStr) -> Result<usize> {
    let mut found = Err(ENOENT);
    let _guard = rcu::read_lock();
    // The loader swaps the table when the module's init is over, and frees the old one after a grace period.
    // SAFETY: By the duty of this function the module is there. The volatile read stands for rcu_dereference().
    let table = unsafe { &*(&raw const (*module).kallsyms).read_volatile() };
    for i in 0..table.num_symtab as usize {
        // SAFETY: The table has `num_symtab` entries, and is not freed before `_guard` is dropped.
        let symbol = unsafe { &*table.symtab.add(i) };
        // SAFETY: The loader has checked that `st_name` is the offset of a C string.
        let this = unsafe { CStr::from_char_ptr(table.strtab.add(symbol.st_name as usize)) };
        if u32::from(symbol.st_shndx) == bindings::SHN_UNDEF || this != name {
            continue;
        }
        if found.is_ok() {
            return Err(EMLINK);
        }
        found = Ok(symbol.st_value as usize);
    }
    found
}

/// Whether the kernel probes of `module` must not stand at `addr`, by what the module itself says.
///
/// The kernel adds this to its own list in a module notifier, which runs after the callbacks of a module that is being
/// loaded: until then `register_kprobe()` does not know.
///
/// # Safety
///
/// As for [`in_module`].
pub(crate) unsafe fn no_probe_in_module(module: *const bindings::module, addr: usize) -> bool {
    // SAFETY: By the duty of this function the module is there; the loader does not change these fields any more.
    let module = unsafe { &*module };
    let within = |start: *mut c_void, size: u32| addr.wrapping_sub(start as usize) < size as usize;
    within(module.noinstr_text_start, module.noinstr_text_size)
        || within(module.kprobes_text_start, module.kprobes_text_size)
        || (0..module.num_kprobe_blacklist as usize)
            // SAFETY: The array has `num_kprobe_blacklist` entries.
            .any(|i| unsafe { *module.kprobe_blacklist.add(i) } == addr)
}

/// Checks that `addr` belongs to the kernel itself, and that no symbol elsewhere in it is called `name`.
///
/// Walks over all symbols, which takes some tenths of a second at worst. A symbol that shares its address with one of
/// another name may be printed under that one, and is then not seen. Process context; may sleep.
///
/// # Errors
///
/// `ENOENT` when `addr` is not in the kernel itself, `EMLINK` when there are several such symbols, `ENOMEM`.
pub(crate) fn is_unique_in_vmlinux(name: &CStr, addr: usize) -> Result {
    let mut printer = Printer(KBox::new([0; 1024], GFP_KERNEL)?);
    let own = printer.at(addr).ok_or(ENOENT)?;
    let (mut low, mut high) = (addr - own.offset, addr - own.offset + own.size);
    while let Some(below) = printer.at(low - 1) {
        if below.name == name.to_bytes() {
            return Err(EMLINK);
        }
        low -= 1 + below.offset;
    }
    while let Some(above) = printer.at(high) {
        if above.name == name.to_bytes() {
            return Err(EMLINK);
        }
        high += above.size;
    }
    Ok(())
}

/// A symbol of the kernel around an address.
struct Symbol<'a> {
    name: &'a [u8],
    /// From the symbol's start to the address.
    offset: usize,
    /// Up to the next symbol.
    size: usize,
}

/// Holds the longest line of `sprint_symbol()`, whose bound is `KSYM_SYMBOL_LEN`.
struct Printer(KBox<[u8; 1024]>);

impl Printer {
    /// The symbol around `addr`, if the address is within the kernel itself.
    fn at(&mut self, addr: usize) -> Option<Symbol<'_>> {
        // SAFETY: The buffer is longer than the longest line.
        let len = unsafe { bindings::sprint_symbol(self.0.as_mut_ptr().cast::<c_char>(), addr) };
        // `name+0x1/0x20`, for a symbol of a module followed by ` [module]`, which ends the walk.
        let line = self.0.get(..usize::try_from(len).ok()?)?;
        let plus = line.iter().rposition(|byte| *byte == b'+')?;
        let (offset, size) = core::str::from_utf8(&line[plus + 1..])
            .ok()?
            .split_once('/')?;
        Some(Symbol {
            name: &line[..plus],
            offset: hex(offset)?,
            size: hex(size)?,
        })
    }
}

/// The value of `0x1f`.
fn hex(text: &str) -> Option<usize> {
    usize::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

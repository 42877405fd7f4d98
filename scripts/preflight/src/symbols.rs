// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the symbols of an object tell of a function, and kallsyms of those of vmlinux.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::inlined::Places;

/// Which object a function is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    Vmlinux,
    Module(String),
}

impl Object {
    pub fn new(name: &str) -> Object {
        match name {
            "vmlinux" => Object::Vmlinux,
            module => Object::Module(module.replace('-', "_")),
        }
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Object::Vmlinux => "vmlinux",
            Object::Module(name) => name,
        })
    }
}

/// What is known of a name in an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// How many symbols have the name, and how many of them are code.
    pub all: usize,
    pub code: usize,
    /// Where the first code of that name is, in vmlinux.
    pub address: Option<u64>,
    /// How many of them ftrace reaches.
    pub traced: usize,
    /// Some are freed when the kernel, or the module, has started.
    pub init: bool,
    /// What the compiler made of the function beside it or in its place: `.isra.0`, `.constprop.0`, `.part.0`.
    pub clones: Vec<String>,
}

/// Address, type, name and module of a line of kallsyms.
pub fn symbol(line: &str) -> Option<(&str, char, &str, Option<&str>)> {
    let (address, rest) = line.split_once(' ')?;
    let (kind, rest) = rest.split_once(' ')?;
    let (name, module) = match rest.split_once('\t') {
        Some((name, module)) => (name, Some(module.trim_matches(['[', ']']))),
        None => (rest, None),
    };
    Some((address, kind.chars().next()?, name, module))
}

/// The numbers that lines begin with.
pub fn addresses(text: &str) -> BTreeSet<u64> {
    let words = text.lines().filter_map(|line| line.split(' ').next());
    words.filter_map(number).collect()
}

/// May ftrace be at a function's beginning, or behind its ENDBR? Names will not do: several symbols may be one function.
pub fn is_traced(traced: &BTreeSet<u64>, address: &str) -> bool {
    number(address).is_some_and(|at| traced.range(at..at + 16).next().is_some())
}

/// The code of vmlinux that `address` is in, and where the next begins.
pub fn around(kallsyms: &str, address: u64) -> (&str, u64) {
    let (mut begin, mut end, mut name) = (0, u64::MAX, "");
    for line in kallsyms.lines() {
        let Some((at, 't' | 'T' | 'w' | 'W', symbol, None)) = symbol(line) else {
            continue;
        };
        match number(at) {
            Some(at) if at > address => end = end.min(at),
            Some(at) if at > begin => (begin, name) = (at, symbol),
            _ => {}
        }
    }
    (name, end)
}

/// As the kernel writes an address, with 0x or without.
pub fn number(address: &str) -> Option<u64> {
    u64::from_str_radix(address.trim_start_matches("0x"), 16).ok()
}

/// The addresses of what is freed when the kernel has started.
pub fn init_text(kallsyms: &str) -> Range<&str> {
    between(kallsyms, "_sinittext", "_einittext")
}

/// The addresses from one symbol to another; as text of one length they have the order of numbers.
fn between<'a>(kallsyms: &'a str, begin: &str, end: &str) -> Range<&'a str> {
    let address = |wanted| {
        let mut found = kallsyms.lines().filter_map(symbol);
        let found = found.find(|(_, _, name, module)| *name == wanted && module.is_none());
        found.map_or("", |(address, ..)| address)
    };
    address(begin)..address(end)
}

pub fn in_vmlinux(kallsyms: &str, traced: &BTreeSet<u64>, wanted: &str) -> Symbols {
    let mut symbols = Symbols::default();
    let mut addresses = Vec::new();
    let init = init_text(kallsyms);
    // The letters of some kernels call data text.
    let text = between(kallsyms, "_stext", "_etext");
    for line in kallsyms.lines() {
        let Some((address, kind, name, None)) = symbol(line) else {
            continue;
        };
        if name == wanted {
            symbols.all += 1;
            let is_text = text.contains(&address) || init.contains(&address);
            if is_text && matches!(kind, 't' | 'T' | 'w' | 'W') {
                symbols.code += 1;
                addresses.push(address);
            }
        } else if is_clone(wanted, name) {
            symbols.clones.push(name.to_owned());
        }
    }
    symbols.address = addresses.first().and_then(|address| number(address));
    symbols.traced = addresses.iter().filter(|a| is_traced(traced, a)).count();
    symbols.init = addresses.iter().any(|address| init.contains(address));
    symbols
}

/// Where the symbols of vmlinux are.
pub fn places(kallsyms: &str) -> Places {
    let mut places = Places::new();
    for (address, _, name, module) in kallsyms.lines().filter_map(symbol) {
        if let (Some(at), None) = (number(address), module) {
            places.entry(name.to_owned()).or_default().push(at);
        }
    }
    places
}

/// Is `name` what the compiler made of `function`? `.cold` is a part of it that is reached through it alone.
pub fn is_clone(function: &str, name: &str) -> bool {
    name.strip_prefix(function)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|rest| {
            ["isra", "constprop", "part", "specialized", "llvm"]
                .iter()
                .any(|s| rest.starts_with(s))
                && !rest.ends_with(".cold")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &str = "\
f00 T _stext
f10 t twice
f20 t twice
f30 T once
f40 t once.isra.0
f50 t once.part.0.cold
f60 T _etext
f68 T data
f70 T _sinittext
f80 t early
f90 T _einittext
fa0 t once\t[module]
";

    #[test]
    fn kallsyms_tells_of_a_name() {
        let of = |name: &str| in_vmlinux(KALLSYMS, &addresses("0xf14 twice\n0xf30 once\n"), name);
        assert_eq!(of("nothing"), Symbols::default());
        let once = Symbols {
            all: 1,
            code: 1,
            address: Some(0xf30),
            traced: 1,
            init: false,
            clones: vec!["once.isra.0".to_owned()],
        };
        assert_eq!(of("once"), once);
        assert_eq!((of("twice").code, of("twice").traced), (2, 1));
        assert_eq!((of("data").all, of("data").code), (1, 0));
        assert!(of("early").init);
        assert_eq!(around(KALLSYMS, 0xf25), ("twice", 0xf30));
    }
}

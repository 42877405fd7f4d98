// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a module's file tells: sections, symbols, and of a livepatch what it patches, and by which functions.

use std::collections::BTreeSet;

use anyhow::Context;
use anyhow::Result;
use object::Object as _;
use object::ObjectSection as _;
use object::ObjectSymbol as _;
use object::SectionIndex;
use object::SectionKind;

use crate::dwarf;
use crate::inlined::Places;
use crate::prototype::Prototype;
use crate::symbols::is_clone;
use crate::symbols::Object;
use crate::symbols::Symbols;
use crate::tables::Image;
use crate::tables::Place;
use crate::tables::Symbol;
use crate::tables::Table;
use crate::tables::Target;

pub type File<'a> = object::File<'a>;

pub fn parse(bytes: &[u8]) -> Result<File<'_>> {
    File::parse(bytes).with_context(|| {
        if !bytes.starts_with(b"\x7fELF") {
            return "it is no ELF file".to_owned();
        }
        let sections = bytes.get(0x28..0x30).and_then(|at| at.try_into().ok());
        let at = u64::from_le_bytes(sections.unwrap_or_default());
        format!(
            "it has {:#x} bytes, and its sections at {at:#x}",
            bytes.len()
        )
    })
}

/// The content of a section.
pub fn section(bytes: &[u8], name: &str) -> Result<Option<Vec<u8>>> {
    let file = parse(bytes)?;
    let Some(section) = file.section_by_name(name) else {
        return Ok(None);
    };
    let data = section.data().with_context(|| format!("section {name}"))?;
    Ok(Some(data.to_vec()))
}

/// The words `key=value` of `.modinfo`.
pub fn modinfo(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let words = section(bytes, ".modinfo")?.unwrap_or_default();
    Ok(words
        .split(|byte| *byte == 0)
        .filter_map(|word| {
            let word = String::from_utf8_lossy(word).into_owned();
            word.split_once('=')
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
        })
        .collect())
}

/// The symbols that a module wants of others, but those that it can do without and those that the core of livepatch looks up.
pub fn wanted(file: &File<'_>) -> Vec<String> {
    let mut names: Vec<String> = file
        .symbols()
        .filter(|symbol| symbol.is_undefined() && !symbol.is_weak())
        .filter_map(|symbol| symbol.name().ok())
        .filter(|name| !name.is_empty() && !name.starts_with(".klp.sym."))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

/// What a module exports.
pub fn exports(bytes: &[u8]) -> Result<Vec<String>> {
    let file = parse(bytes)?;
    let names = file.symbols().filter_map(|symbol| symbol.name().ok());
    let names = names.filter_map(|name| name.strip_prefix("__ksymtab_"));
    Ok(names.map(str::to_owned).collect())
}

/// The symbols of `wanted` in a module that may be patched.
pub fn symbols(bytes: &[u8], wanted: &str) -> Result<Symbols> {
    let image = Image::new(parse(bytes)?)?;
    let file = &image.file;
    // Where ftrace may go is a list of addresses. One is at the function's beginning, or behind its ENDBR.
    let list = file
        .section_by_name("__mcount_loc")
        .map(|list| list.index().0);
    let calls = image
        .relocations
        .iter()
        .filter(|(at, _)| Some(at.0) == list);
    let calls: BTreeSet<Place> = calls.filter_map(|(_, call)| call.here()).collect();
    let mut symbols = Symbols::default();
    for symbol in &image.symbols {
        if is_clone(wanted, &symbol.name) {
            symbols.clones.push(symbol.name.clone());
        }
        if symbol.name != wanted {
            continue;
        }
        symbols.all += 1;
        let section = file.section_by_index(SectionIndex(symbol.place.0));
        let section = section.with_context(|| format!("where {wanted} is"))?;
        if section.kind() == SectionKind::Text {
            symbols.code += 1;
            symbols.init |= section.name().is_ok_and(|name| name.starts_with(".init"));
            let call = calls.range(symbol.place..).next();
            symbols.traced +=
                usize::from(call.is_some_and(|call| call.is_within(symbol.place, 16)));
        }
    }
    Ok(symbols)
}

/// Where the symbols of a module are.
pub fn places(bytes: &[u8]) -> Result<Places> {
    let mut places = Places::new();
    for Symbol { name, place, .. } in Image::new(parse(bytes)?)?.symbols {
        let at = ((place.0 as u64) << 32) | place.1;
        places.entry(name).or_default().push(at);
    }
    Ok(places)
}

/// One function that a livepatch replaces or redirects.
#[derive(Clone, Debug)]
pub struct Patched {
    pub object: Object,
    /// Empty where the module fills it in when it is loaded.
    pub function: String,
    /// Counted from 1; 0 for the only one.
    pub position: usize,
    /// Reached by a kprobe.
    pub redirect: bool,
    /// Only where something holds that the module asks when it is loaded.
    pub condition: bool,
    /// Is there what runs in its place? Where, if it is in the module, and its prototype.
    pub has_new: bool,
    pub new: Option<Place>,
    pub prototype: Option<Prototype>,
}

impl Patched {
    /// As it is written, with nothing in its place yet.
    pub fn new(object: Object, function: &str) -> Patched {
        Patched {
            object,
            function: function.to_owned(),
            position: 0,
            redirect: false,
            condition: false,
            has_new: false,
            new: None,
            prototype: None,
        }
    }
}

/// What a livepatch patches: functions by its tables, redirects by its modinfo.
pub fn patched(
    modinfo: &[(String, String)],
    image: &Image<'_>,
    tables: &[Table],
) -> Result<Vec<Patched>> {
    let mut patched = Vec::new();
    for table in tables {
        for (function, position, new) in &table.functions {
            patched.push(Patched {
                position: *position,
                has_new: new.is_some(),
                new: new.as_ref().and_then(Target::here),
                ..Patched::new(table.object.clone(), function)
            });
        }
    }
    for (_, value) in modinfo.iter().filter(|(key, _)| key == "redirects") {
        let (object, function) = value
            .split_once(':')
            .context("modinfo: OBJECT:FUNCTION is expected")?;
        let name = function.trim_end_matches('?');
        let new = image.symbol(&format!("livepatch.{object}.{name}"));
        patched.push(Patched {
            redirect: true,
            condition: function.ends_with('?'),
            has_new: new.is_some(),
            new: new.map(|symbol| symbol.place),
            ..Patched::new(Object::new(object), name)
        });
    }
    let symbol = |entry: &Patched| entry.new.and_then(|new| image.symbol_at(new));
    let names: BTreeSet<String> = patched
        .iter()
        .filter_map(symbol)
        .map(|s| s.name.clone())
        .collect();
    let prototypes = dwarf::read(&image.file, |name| names.contains(name), false)?.prototypes;
    for entry in &mut patched {
        if let Some(symbol) = symbol(entry) {
            entry.prototype = prototypes.get(&symbol.name).cloned();
        }
    }
    Ok(patched)
}

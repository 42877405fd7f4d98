// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a module's file tells: sections, symbols, and of a livepatch what it patches, and by which functions.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::collections::HashMap;

use anyhow::Context;
use anyhow::Result;
use gimli::EndianSlice;
use gimli::RunTimeEndian;
use object::Object as _;
use object::ObjectSection as _;
use object::ObjectSymbol as _;
use object::RelocationTarget;

use crate::facts::is_clone;
use crate::facts::Object;
use crate::facts::Symbols;
use crate::prototype::Pass;
use crate::prototype::Prototype;
use crate::prototype::Value;

type File<'a> = object::File<'a>;
type Reader<'a> = gimli::RelocateReader<EndianSlice<'a, RunTimeEndian>, &'a Relocations>;

/// A `.ko` is not linked: each reference between its sections is a relocation.
#[derive(Debug, Default)]
struct Relocations(object::read::RelocationMap);

impl gimli::Relocate for &Relocations {
    fn relocate_address(&self, offset: usize, value: u64) -> gimli::Result<u64> {
        Ok(self.0.relocate(offset as u64, value))
    }

    fn relocate_offset(&self, offset: usize, value: usize) -> gimli::Result<usize> {
        <usize as gimli::ReaderOffset>::from_u64(self.0.relocate(offset as u64, value as u64))
    }
}

fn parse(bytes: &[u8]) -> Result<File<'_>> {
    File::parse(bytes).context("it is no ELF file")
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

/// What the symbols say of a module as such.
pub struct Kind {
    /// It calls `klp_enable_patch()`.
    pub livepatch: bool,
    /// Some of it is in Rust.
    pub rust: bool,
}

pub fn kind(bytes: &[u8]) -> Result<Kind> {
    let file = parse(bytes)?;
    let any = |is: &dyn Fn(&str) -> bool| file.symbols().any(|s| s.name().is_ok_and(is));
    Ok(Kind {
        livepatch: any(&|name| name == "klp_enable_patch"),
        rust: any(&|name| name.starts_with("_R")),
    })
}

/// The symbols of `wanted` in a module that may be patched.
pub fn symbols(bytes: &[u8], wanted: &str) -> Result<Symbols> {
    let file = parse(bytes)?;
    let mut symbols = Symbols::default();
    let mut places = Vec::new();
    for symbol in file.symbols() {
        let Ok(name) = symbol.name() else { continue };
        let Some(index) = symbol.section_index() else {
            continue;
        };
        if is_clone(wanted, name) {
            symbols.clones.push(name.to_owned());
        }
        if name != wanted {
            continue;
        }
        symbols.all += 1;
        let section = file.section_by_index(index).context("a symbol's section")?;
        if section.kind() == object::SectionKind::Text {
            symbols.code += 1;
            symbols.init |= section.name().is_ok_and(|name| name.starts_with(".init"));
            places.push((index, symbol.address()));
        }
    }
    // Where ftrace may go is a list of addresses in a module's file. One is at the function's beginning, or behind its ENDBR.
    let Some(list) = file.section_by_name("__mcount_loc") else {
        return Ok(symbols);
    };
    let mut calls = Vec::new();
    for (_, relocation) in list.relocations() {
        let RelocationTarget::Symbol(index) = relocation.target() else {
            continue;
        };
        let Ok(symbol) = file.symbol_by_index(index) else {
            continue;
        };
        let at = symbol.address().wrapping_add_signed(relocation.addend());
        calls.extend(symbol.section_index().map(|section| (section, at)));
    }
    symbols.traced = places
        .iter()
        .filter(|(section, start)| {
            calls
                .iter()
                .any(|(s, at)| s == section && (*start..start + 16).contains(at))
        })
        .count();
    Ok(symbols)
}

/// One function that a livepatch replaces or redirects.
#[derive(Clone, Debug)]
pub struct Patched {
    pub object: Object,
    pub function: String,
    pub position: Option<usize>,
    /// Reached by a kprobe.
    pub redirect: bool,
    /// Only where something holds that the module asks when it is loaded.
    pub condition: bool,
    /// The size of what runs in its place; `None` where that symbol is not there.
    pub size: Option<u64>,
    pub new: Option<Prototype>,
}

impl Patched {
    /// What stack traces show.
    fn symbol(&self) -> String {
        let position = self.position.map(|p| format!(".{p}")).unwrap_or_default();
        format!("livepatch.{}.{}{position}", self.object, self.function)
    }
}

/// What a livepatch patches, as its modinfo says it.
pub fn patched(bytes: &[u8]) -> Result<Vec<Patched>> {
    let mut patched = Vec::new();
    for (key, value) in modinfo(bytes)? {
        if key != "patches" && key != "redirects" {
            continue;
        }
        let (object, function) = value
            .split_once(':')
            .context("modinfo: OBJECT:FUNCTION is expected")?;
        let condition = function.ends_with('?');
        let function = function.trim_end_matches('?');
        let (function, position) = match function.split_once('@') {
            Some((function, position)) => (
                function,
                Some(position.parse().context("modinfo: a symbol's position")?),
            ),
            None => (function, None),
        };
        patched.push(Patched {
            object: Object::new(object),
            function: function.to_owned(),
            position,
            redirect: key == "redirects",
            condition,
            size: None,
            new: None,
        });
    }
    let file = parse(bytes)?;
    let mut prototypes = debug_info(&file, |name| name.starts_with("livepatch."))?.prototypes;
    for entry in &mut patched {
        let name = entry.symbol();
        entry.size = file
            .symbols()
            .find(|s| s.name() == Ok(&name))
            .map(|s| s.size());
        entry.new = prototypes.remove(&name);
    }
    Ok(patched)
}

/// The prototype of a C function, for a module without BTF.
pub fn prototype(bytes: &[u8], function: &str) -> Result<Option<Prototype>> {
    Ok(debug_info(&parse(bytes)?, |name| name == function)?
        .prototypes
        .remove(function))
}

/// The functions of a module that `function` was inlined into, where DWARF tells.
pub fn inlined_into(bytes: &[u8], function: &str) -> Result<Vec<String>> {
    let callers = debug_info(&parse(bytes)?, |name| name == function)?.inlined;
    Ok(callers.into_iter().collect())
}

/// What DWARF tells of the functions that somebody wants to know about.
#[derive(Default)]
struct DebugInfo {
    prototypes: HashMap<String, Prototype>,
    /// Who has their code.
    inlined: BTreeSet<String>,
}

fn debug_info(file: &File<'_>, wanted: impl Fn(&str) -> bool) -> Result<DebugInfo> {
    let endian = match file.is_little_endian() {
        true => RunTimeEndian::Little,
        false => RunTimeEndian::Big,
    };
    let load = |id: gimli::SectionId| -> Result<(Cow<'_, [u8]>, Relocations)> {
        let Some(section) = file.section_by_name(id.name()) else {
            return Ok(Default::default());
        };
        Ok((
            section.uncompressed_data()?,
            Relocations(section.relocation_map()?),
        ))
    };
    let sections = gimli::DwarfSections::load(load)?;
    let dwarf = sections.borrow(|(data, relocations)| {
        gimli::RelocateReader::new(EndianSlice::new(data, endian), relocations)
    });
    let mut info = DebugInfo::default();
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        let unit = Unit {
            dwarf: &dwarf,
            unit: dwarf.unit(header)?,
        };
        let mut around = String::new();
        let mut entries = unit.unit.entries();
        while let Some((_, entry)) = entries.next_dfs()? {
            match entry.tag() {
                gimli::DW_TAG_subprogram => {
                    around = unit.name(entry)?;
                    if wanted(&around) && entry.attr_value(gimli::DW_AT_declaration)?.is_none() {
                        let prototype = unit.prototype(entry.offset())?;
                        info.prototypes.insert(around.clone(), prototype);
                    }
                }
                gimli::DW_TAG_inlined_subroutine if wanted(&unit.name(entry)?) => {
                    info.inlined.insert(around.clone());
                }
                _ => {}
            }
        }
    }
    Ok(info)
}

type Entry<'a, 'u> = gimli::DebuggingInformationEntry<'u, 'u, Reader<'a>>;

struct Unit<'a, 'd> {
    dwarf: &'d gimli::Dwarf<Reader<'a>>,
    unit: gimli::Unit<Reader<'a>>,
}

impl<'a> Unit<'a, '_> {
    fn text(&self, entry: &Entry<'a, '_>, attribute: gimli::DwAt) -> Result<String> {
        let Some(value) = entry.attr_value(attribute)? else {
            return Ok(String::new());
        };
        let text = self.dwarf.attr_string(&self.unit, value)?;
        Ok(gimli::Reader::to_string_lossy(&text)?.into_owned())
    }

    fn reference(
        &self,
        entry: &Entry<'a, '_>,
        attribute: gimli::DwAt,
    ) -> Result<Option<gimli::UnitOffset>> {
        Ok(match entry.attr_value(attribute)? {
            Some(gimli::AttributeValue::UnitRef(at)) => Some(at),
            _ => None,
        })
    }

    /// A function's symbol, or its name.
    fn name(&self, entry: &Entry<'a, '_>) -> Result<String> {
        if let Some(origin) = self.reference(entry, gimli::DW_AT_abstract_origin)? {
            let origin = self.unit.entry(origin)?;
            return match self.reference(&origin, gimli::DW_AT_abstract_origin)? {
                Some(_) => Ok(String::new()),
                None => self.name(&origin),
            };
        }
        let symbol = self.text(entry, gimli::DW_AT_linkage_name)?;
        match symbol.is_empty() {
            true => self.text(entry, gimli::DW_AT_name),
            false => Ok(symbol),
        }
    }

    fn prototype(&self, function: gimli::UnitOffset) -> Result<Prototype> {
        let mut tree = self.unit.entries_tree(Some(function))?;
        let root = tree.root()?;
        let returns = self.value(root.entry(), 0)?;
        let mut arguments = Vec::new();
        let mut children = root.children();
        while let Some(child) = children.next()? {
            if child.entry().tag() == gimli::DW_TAG_formal_parameter {
                arguments.push(self.value(child.entry(), 0)?);
            }
        }
        Ok(Prototype { arguments, returns })
    }

    /// The type of an entry that has one, or nothing.
    fn value(&self, entry: &Entry<'a, '_>, depth: usize) -> Result<Value> {
        let plain = |pass, text: String| Value {
            pass,
            rust: text.clone(),
            text,
            name: String::new(),
        };
        if let Some(origin) = self
            .reference(entry, gimli::DW_AT_abstract_origin)?
            .filter(|_| depth < 8)
        {
            return self.value(&self.unit.entry(origin)?, depth + 1);
        }
        let Some(at) = self.reference(entry, gimli::DW_AT_type)? else {
            return Ok(plain(Pass::Nothing, "()".to_owned()));
        };
        let this = self.unit.entry(at)?;
        let name = self.text(&this, gimli::DW_AT_name)?;
        let size = this
            .attr_value(gimli::DW_AT_byte_size)?
            .and_then(|size| size.udata_value())
            .map_or(0, |size| size as usize);
        let encoding = match this.attr_value(gimli::DW_AT_encoding)? {
            Some(gimli::AttributeValue::Encoding(encoding)) => Some(encoding),
            _ => None,
        };
        let pass = match this.tag() {
            gimli::DW_TAG_pointer_type => Pass::Pointer,
            gimli::DW_TAG_unspecified_type => Pass::Nothing,
            gimli::DW_TAG_base_type if size == 0 => Pass::Nothing,
            gimli::DW_TAG_base_type if encoding == Some(gimli::DW_ATE_boolean) => Pass::Bool,
            gimli::DW_TAG_base_type => {
                let signed = [gimli::DW_ATE_signed, gimli::DW_ATE_signed_char]
                    .map(Some)
                    .contains(&encoding);
                Pass::Number(size, Some(signed))
            }
            gimli::DW_TAG_enumeration_type => Pass::Number(size, None),
            gimli::DW_TAG_typedef | gimli::DW_TAG_const_type if depth < 8 => {
                return Ok(Value {
                    text: name,
                    ..self.value(&this, depth + 1)?
                });
            }
            _ => Pass::Bytes(size),
        };
        Ok(plain(pass, name))
    }
}

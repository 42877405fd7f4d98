// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What DWARF tells of a module's functions: their prototypes, and where they were inlined.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use anyhow::Context;
use anyhow::Result;
use gimli::EndianSlice;
use gimli::LittleEndian;
use object::Object as _;
use object::ObjectSection as _;
use object::ObjectSymbol as _;

use crate::module::parse;
use crate::module::File;
use crate::prototype::Pass;
use crate::prototype::Prototype;
use crate::prototype::Value;

type Reader<'a> = gimli::RelocateReader<EndianSlice<'a, LittleEndian>, &'a Relocations>;

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

/// The prototype of a C function, for a module without BTF.
pub fn prototype(bytes: &[u8], function: &str) -> Result<Option<Prototype>> {
    Ok(read(&parse(bytes)?, |name| name == function, false)?
        .prototypes
        .remove(function))
}

/// What DWARF tells of the functions that somebody wants to know about.
#[derive(Default)]
pub struct DebugInfo {
    pub prototypes: HashMap<String, Prototype>,
    /// What was inlined into which symbol, and from which call.
    pub inlined: BTreeMap<(String, String), String>,
}

pub fn read(file: &File<'_>, wanted: impl Fn(&str) -> bool, inlined: bool) -> Result<DebugInfo> {
    let load = |id: gimli::SectionId| -> Result<(Cow<'_, [u8]>, Relocations)> {
        let Some(section) = file.section_by_name(id.name()) else {
            return Ok(Default::default());
        };
        let relocations = section.relocation_map().with_context(|| {
            let is_bad = |r: &object::Relocation| r.kind() == object::RelocationKind::Unknown;
            let bad = section.relocations().find(|(_, r)| is_bad(r));
            format!(
                "{}: the relocation at {:#x}",
                id.name(),
                bad.map_or(0, |(at, _)| at)
            )
        })?;
        Ok((section.uncompressed_data()?, Relocations(relocations)))
    };
    let sections = gimli::DwarfSections::load(load)?;
    let dwarf = sections.borrow(|(data, relocations)| {
        gimli::RelocateReader::new(EndianSlice::new(data, LittleEndian), relocations)
    });
    let mut info = DebugInfo::default();
    let mut units = dwarf.units();
    while let Some(header) = units.next().context(".debug_info")? {
        let at = header.offset().as_debug_info_offset().map_or(0, |at| at.0);
        dwarf
            .unit(header)
            .map_err(anyhow::Error::from)
            .and_then(|unit| {
                Unit {
                    file,
                    dwarf: &dwarf,
                    unit,
                }
                .read(&wanted, inlined, &mut info)
            })
            .with_context(|| format!("the unit at {at:#x} of .debug_info"))?;
    }
    Ok(info)
}

type Entry<'a, 'u> = gimli::DebuggingInformationEntry<'u, 'u, Reader<'a>>;

struct Unit<'a, 'd> {
    file: &'d File<'d>,
    dwarf: &'d gimli::Dwarf<Reader<'a>>,
    unit: gimli::Unit<Reader<'a>>,
}

impl<'a> Unit<'a, '_> {
    fn read(
        &self,
        wanted: &impl Fn(&str) -> bool,
        inlined: bool,
        info: &mut DebugInfo,
    ) -> Result<()> {
        let mut around = None;
        let mut entries = self.unit.entries();
        while let Some((_, entry)) = entries.next_dfs()? {
            match entry.tag() {
                // A function may declare others within itself.
                gimli::DW_TAG_subprogram
                    if entry.attr_value(gimli::DW_AT_declaration)?.is_none() =>
                {
                    let name = self.name(entry)?;
                    around = if inlined {
                        self.symbol(entry, &name)?
                    } else {
                        None
                    };
                    if wanted(&name) {
                        let prototype = self.prototype(entry.offset())?;
                        info.prototypes.insert(name, prototype);
                    }
                }
                gimli::DW_TAG_inlined_subroutine => {
                    if let Some(around) = &around {
                        let pair = (self.name(entry)?, around.clone());
                        info.inlined.insert(pair, self.call(entry)?);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The symbol of a function that has code, which may be a copy with a suffix.
    fn symbol(&self, function: &Entry<'a, '_>, name: &str) -> Result<Option<String>> {
        let mut ranges = self.dwarf.die_ranges(&self.unit, function)?;
        let mut begins = BTreeSet::new();
        while let Some(range) = ranges.next()? {
            begins.insert(range.begin);
        }
        let is_it = |symbol: &&str| {
            let rest = symbol.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('.') && !rest.ends_with(".cold"))
        };
        let symbols = self.file.symbols();
        let there = symbols.filter(|symbol| begins.contains(&symbol.address()));
        let copy = there.filter_map(|symbol| symbol.name().ok()).find(is_it);
        let name = copy.unwrap_or(name).to_owned();
        Ok((!begins.is_empty()).then_some(name))
    }

    /// File and line of the call that was inlined.
    fn call(&self, inlined: &Entry<'a, '_>) -> Result<String> {
        let number = |attribute| -> Result<u64> {
            let value = inlined.attr(attribute)?;
            Ok(value.and_then(|value| value.udata_value()).unwrap_or(0))
        };
        let line = number(gimli::DW_AT_call_line)?;
        let program = self.unit.line_program.as_ref();
        let file = program.and_then(|p| p.header().file(number(gimli::DW_AT_call_file).ok()?));
        let Some(file) = file else {
            return Ok(format!("line {line}"));
        };
        let path = self.string(file.path_name())?;
        Ok(format!("{}:{line}", crate::name(&path)))
    }

    fn text(&self, entry: &Entry<'a, '_>, attribute: gimli::DwAt) -> Result<String> {
        let value = entry.attr_value(attribute)?;
        value.map_or(Ok(String::new()), |value| self.string(value))
    }

    fn string(&self, value: gimli::AttributeValue<Reader<'a>>) -> Result<String> {
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

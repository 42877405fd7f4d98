// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A livepatch's tables as they stand in its file: `struct klp_patch`, and what it leads to by relocations. They are the same
//! whether C or `klp::livepatch!` made them.

use std::collections::BTreeMap;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use object::Object as _;
use object::ObjectSection as _;
use object::ObjectSymbol as _;
use object::RelocationTarget;
use object::SectionFlags;
use object::SectionIndex;
use object::SectionKind;

use crate::module::File;
use crate::symbols::Object;

/// Offsets in the structures of `include/linux/livepatch.h`; what comes first is the author's, and depends on no configuration.
const OBJS: u64 = 8;
const STATES: u64 = 16;
const FUNCS: u64 = 8;
const CALLBACKS: u64 = 16;
const NEW_FUNC: u64 = 8;
const SYMPOS: u64 = 16;

/// As the structure's fields.
pub const CALLBACK_NAMES: [&str; 4] = ["pre_patch", "post_patch", "pre_unpatch", "post_unpatch"];

/// More entries than any livepatch has: a damaged file leads round and round.
const MOST: usize = 20_000;

/// What else of these structures there is does: their sizes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub patch: u64,
    pub object: u64,
    pub func: u64,
}

/// Section and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub usize, pub u64);

impl Place {
    pub fn plus(self, offset: u64) -> Place {
        Place(self.0, self.1.wrapping_add(offset))
    }

    /// Is it among the `len` bytes from `start` on?
    pub fn is_within(self, start: Place, len: u64) -> bool {
        self.0 == start.0 && self.1.wrapping_sub(start.1) < len
    }
}

/// What a relocation leads to, its addend included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Here(Place),
    /// A symbol that somebody else has.
    Outside(String),
}

impl Target {
    pub fn here(&self) -> Option<Place> {
        match self {
            Target::Here(place) => Some(*place),
            Target::Outside(_) => None,
        }
    }
}

/// A symbol with a place.
#[derive(Clone, Debug)]
pub struct Symbol {
    pub name: String,
    pub place: Place,
    pub size: u64,
    pub is_code: bool,
}

/// A module's file, its references followed.
pub struct Image<'a> {
    pub file: File<'a>,
    /// By where they are.
    pub relocations: BTreeMap<Place, Target>,
    /// By where they begin.
    pub symbols: Vec<Symbol>,
}

impl<'a> Image<'a> {
    pub fn new(file: File<'a>) -> Result<Image<'a>> {
        let mut symbols: Vec<Symbol> = Vec::new();
        for symbol in file.symbols() {
            let (Some(section), Ok(name)) = (symbol.section_index(), symbol.name()) else {
                continue;
            };
            symbols.push(Symbol {
                name: name.to_owned(),
                place: Place(section.0, symbol.address()),
                size: symbol.size(),
                is_code: symbol.kind() == object::SymbolKind::Text,
            });
        }
        symbols.sort_by_key(|symbol| symbol.place);
        let mut relocations = BTreeMap::new();
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else {
                continue;
            };
            if sh_flags & u64::from(object::elf::SHF_ALLOC) == 0 {
                continue;
            }
            for (at, relocation) in section.relocations() {
                let RelocationTarget::Symbol(index) = relocation.target() else {
                    continue;
                };
                let symbol = file.symbol_by_index(index).with_context(|| {
                    format!("the relocation at {at:#x} of section {}", section.index().0)
                })?;
                let target = match symbol.section_index() {
                    Some(SectionIndex(section)) => {
                        let at = symbol.address().wrapping_add_signed(relocation.addend());
                        Target::Here(Place(section, at))
                    }
                    None => Target::Outside(symbol.name().unwrap_or_default().to_owned()),
                };
                relocations.insert(Place(section.index().0, at), target);
            }
        }
        Ok(Image {
            file,
            relocations,
            symbols,
        })
    }

    /// Where the pointer at a place leads to.
    fn pointer(&self, at: Place) -> Option<Place> {
        self.relocations.get(&at)?.here()
    }

    /// The first reference among the `len` bytes from a place on.
    pub fn reference(&self, at: Place, len: u64) -> Option<(Place, &Target)> {
        let (place, target) = self.relocations.range(at..).next()?;
        place.is_within(at, len).then_some((*place, target))
    }

    /// What is in the file from a place on.
    pub fn bytes(&self, at: Place) -> &'a [u8] {
        let section = self.file.section_by_index(SectionIndex(at.0));
        let data = section.and_then(|section| section.data()).unwrap_or(&[]);
        usize::try_from(at.1)
            .ok()
            .and_then(|at| data.get(at..))
            .unwrap_or(&[])
    }

    fn word(&self, at: Place) -> u64 {
        self.bytes(at)
            .first_chunk()
            .map_or(0, |word| u64::from_le_bytes(*word))
    }

    fn text(&self, at: Place) -> String {
        let text = self
            .bytes(at)
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or(&[]);
        String::from_utf8_lossy(text).into_owned()
    }

    /// The function, or the data, that begins at a place.
    pub fn symbol_at(&self, place: Place) -> Option<&Symbol> {
        let from = self.symbols.partition_point(|symbol| symbol.place < place);
        let here = self.symbols[from..]
            .iter()
            .take_while(|symbol| symbol.place == place);
        here.max_by_key(|symbol| (symbol.size > 0, symbol.is_code))
    }

    pub fn symbol(&self, name: &str) -> Option<&Symbol> {
        self.symbols.iter().find(|symbol| symbol.name == name)
    }

    /// Where the tables of objects are, and the patch that each belongs to: one that `klp::livepatch!` made is known by its
    /// name, and its `mod` and `objs` are set when it is enabled; one of C by its `mod`.
    fn patches(&self, sizes: Sizes) -> Vec<(Place, Place)> {
        let rust = self
            .symbols
            .iter()
            .filter(|symbol| symbol.name.ends_with("7___PATCH"));
        let rust = rust.map(|symbol| (symbol.place, symbol.place.plus(sizes.patch)));
        let this = self
            .symbol("__this_module")
            .map(|symbol| Target::Here(symbol.place));
        let c = self
            .relocations
            .iter()
            .filter(|(_, target)| Some(*target) == this.as_ref());
        let c = c.filter_map(|(place, _)| {
            let section = self.file.section_by_index(SectionIndex(place.0)).ok();
            section.filter(|section| section.kind() == SectionKind::Data)?;
            let objs = self.pointer(place.plus(OBJS))?;
            self.pointer(objs.plus(FUNCS)).map(|_| (*place, objs))
        });
        rust.chain(c).collect()
    }

    /// Everything that the tables say.
    pub fn tables(&self, sizes: Sizes) -> Result<Vec<Table>> {
        let mut tables: Vec<Table> = Vec::new();
        let mut entries = 0;
        for (patch, objs) in self.patches(sizes) {
            let has_states = self.pointer(patch.plus(STATES)).is_some();
            for at in (0..).map(|nr| objs.plus(nr * sizes.object)) {
                let (name, funcs) = (self.pointer(at), self.pointer(at.plus(FUNCS)));
                if !self.is_inside(objs, at) {
                    if let Some(last) = tables.last_mut() {
                        last.is_ended = false;
                    }
                    break;
                }
                if name.is_none() && funcs.is_none() {
                    break;
                }
                let (functions, is_ended) = match funcs {
                    Some(funcs) => self.functions(funcs, sizes)?,
                    None => (Vec::new(), true),
                };
                entries += 1 + functions.len();
                tables.push(Table {
                    object: name.map_or(Object::Vmlinux, |name| Object::Module(self.text(name))),
                    callbacks: [0, 1, 2, 3].map(|nr| self.pointer(at.plus(CALLBACKS + 8 * nr))),
                    functions,
                    has_states,
                    is_ended,
                });
                ensure!(
                    entries < MOST,
                    "the table of objects at {:#x} of section {} does not end",
                    objs.1,
                    objs.0
                );
            }
        }
        Ok(tables)
    }

    /// The table of functions at a place, and whether it has an empty entry at its end.
    fn functions(&self, funcs: Place, sizes: Sizes) -> Result<(Vec<Function>, bool)> {
        let mut functions = Vec::new();
        for at in (0..MOST as u64).map(|nr| funcs.plus(nr * sizes.func)) {
            if !self.is_inside(funcs, at) {
                return Ok((functions, false));
            }
            let (old, new) = (self.pointer(at), self.relocations.get(&at.plus(NEW_FUNC)));
            let sympos = self.word(at.plus(SYMPOS));
            if old.is_none() && new.is_none() && sympos == 0 {
                return Ok((functions, true));
            }
            let old = old.map_or(String::new(), |old| self.text(old));
            functions.push((old, usize::try_from(sympos)?, new.cloned()));
        }
        bail!(
            "the table of functions at {:#x} of section {} does not end",
            funcs.1,
            funcs.0
        )
    }

    /// Is the entry still of the array that begins at `start`, where a symbol tells how long that is?
    fn is_inside(&self, start: Place, entry: Place) -> bool {
        let size = self.symbol_at(start).map_or(0, |symbol| symbol.size);
        size == 0 || entry.is_within(start, size)
    }
}

/// Name, position, and what runs in its place; a name may be filled in later.
pub type Function = (String, usize, Option<Target>);

/// What a livepatch does to one object.
#[derive(Clone, Debug)]
pub struct Table {
    pub object: Object,
    /// In the order of [`CALLBACK_NAMES`].
    pub callbacks: [Option<Place>; 4],
    pub functions: Vec<Function>,
    pub has_states: bool,
    /// Both tables have an empty entry at their end.
    pub is_ended: bool,
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `facts`: what is known of the kernel, where it is kept, and what that took.

use std::time::Instant;

use anyhow::Result;
use object::elf::FileHeader64;
use object::elf::NT_GNU_BUILD_ID;
use object::read::elf::NoteIterator;
use object::LittleEndian;

use crate::facts::read;
use crate::facts::read_text;
use crate::facts::Facts;
use crate::symbols;

/// Prints a few lines.
pub fn tell() -> Result<()> {
    let began = Instant::now();
    let facts = Facts::open()?;
    let opened = began.elapsed().as_secs_f64();
    let (mut functions, mut early, mut of_modules) = (0, 0, 0);
    let init = symbols::init_text(&facts.kallsyms);
    for (address, kind, name, module) in facts.kallsyms.lines().filter_map(symbols::symbol) {
        // The room before a function, and what is only reached through one, have names as well.
        let is_whole = !name.starts_with("__pfx_") && !name.ends_with(".cold");
        if matches!(kind, 't' | 'T' | 'w' | 'W') && is_whole {
            functions += usize::from(module.is_none());
            of_modules += usize::from(module.is_some());
            early += usize::from(module.is_none() && init.contains(&address));
        }
    }
    let traced = facts.traced.len();
    let blacklist = facts.blacklist.lines().count();
    let no_list = || "not known: the build left no Module.symvers".to_owned();
    let exports = facts.exported.as_ref();
    let exports = exports.map_or_else(no_list, |names| names.len().to_string());
    let [version, took] = ["version", "took"].map(|name| read_text(&facts.dir, name));
    let (version, took) = (version?, took?);
    let built = version.find('#').map_or("", |at| version[at..].trim());
    println!("Linux {}, {built}", facts.release);
    for (what, text) in [
        ("build id", build_id(&read(&facts.dir, "notes")?).unwrap_or("none".to_owned())),
        ("functions", format!("{functions} in vmlinux, {early} of them gone after the start; {of_modules} in the modules that were loaded")),
        ("traced", format!("{traced}: ftrace reaches them, and so does a livepatch")),
        ("blacklist", format!("{blacklist}: no kprobe may be on them, nor a redirect")),
        ("BTF", format!("{} types in vmlinux", facts.types())),
        ("exports", exports),
        ("modules", format!("{} files, each of which is read when it is asked for", facts.module_count())),
        ("kept in", facts.dir.display().to_string()),
        ("took", format!("{took} s to ask the kernel, {opened:.2} s to read")),
    ] {
        println!("  {what:<10} {text}");
    }
    Ok(())
}

/// The build id in `/sys/kernel/notes`: what the linker computed over this very build.
fn build_id(notes: &[u8]) -> Option<String> {
    let mut notes = NoteIterator::<FileHeader64<LittleEndian>>::new(LittleEndian, 4, notes).ok()?;
    while let Some(note) = notes.next().ok()? {
        if note.name() == b"GNU" && note.n_type(LittleEndian) == NT_GNU_BUILD_ID {
            return Some(
                note.desc()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect(),
            );
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_id_is_the_note_of_that_name_and_type() {
        let note = |name: &[u8; 4], kind: u32, text: &[u8; 4]| {
            let numbers = [4, 4, kind].map(u32::to_le_bytes).concat();
            [&numbers[..], name, text].concat()
        };
        let id = note(b"GNU\0", NT_GNU_BUILD_ID, &[0x1e, 0xea, 0xbb, 0]);
        let other = note(b"GNU\0", 5, b"prop");
        let foreign = note(b"Xen\0", NT_GNU_BUILD_ID, b"xen.");
        let all = [other, foreign, id.clone()].concat();
        assert_eq!(build_id(&all).as_deref(), Some("1eeabb00"));
        assert_eq!(build_id(&all[..all.len() - id.len()]), None);
        assert_eq!(build_id(&id[..7]), None);
    }
}

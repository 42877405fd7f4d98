// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which routines in assembly a redirect can stand for: judged by the kernel's text as it runs, where ALTERNATIVE has made its
//! choice. A replacement is a function in C's calling convention, and inline assembly often calls in one of its own.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;
use iced_x86::Decoder;
use iced_x86::DecoderOptions;
use iced_x86::FlowControl;
use iced_x86::InstructionInfoFactory;
use iced_x86::Mnemonic;
use iced_x86::OpAccess;
use iced_x86::Register;

use crate::facts::Facts;
use crate::symbols;

/// Folders of arch/x86 whose assembly C calls.
const FOLDERS: [&str; 2] = ["entry", "lib"];

/// What a function may overwrite, but for its results.
const LOST: [Register; 7] = [
    Register::RCX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// What holds no argument.
const NO_ARGUMENT: [Register; 3] = [Register::RAX, Register::R10, Register::R11];

/// The kernel's text.
pub struct Text {
    base: u64,
    bytes: Vec<u8>,
    /// Where direct calls and jumps lead, which of the two they are, and where they end.
    ways: BTreeSet<(u64, u8, u64)>,
}

const CALL: u8 = 0xe8;
const JUMP: u8 = 0xe9;

impl Text {
    /// From a file that begins with the address; `None` from an empty one, which is that of a kernel that does not tell.
    pub fn new(file: &[u8]) -> Option<Text> {
        let (base, bytes) = file.split_first_chunk()?;
        let base = u64::from_le_bytes(*base);
        let codes = bytes.windows(5).zip(base + 5..);
        let ways = codes.filter(|(code, _)| [CALL, JUMP].contains(&code[0]));
        let ways = ways.map(|(code, end)| {
            let way = i32::from_le_bytes([code[1], code[2], code[3], code[4]]);
            (end.wrapping_add_signed(way.into()), code[0], end)
        });
        Some(Text {
            base,
            bytes: bytes.to_vec(),
            ways: ways.collect(),
        })
    }

    fn from(&self, address: u64) -> Decoder<'_> {
        let start = usize::try_from(address.wrapping_sub(self.base)).unwrap_or(usize::MAX);
        let bytes = self.bytes.get(start..).unwrap_or_default();
        Decoder::with_ip(64, bytes, address, DecoderOptions::NONE)
    }

    /// Where a way of this kind to `target` ends.
    fn behind(&self, kind: u8, target: u64) -> impl Iterator<Item = u64> + '_ {
        let found = self
            .ways
            .range((target, kind, 0)..=(target, kind, u64::MAX));
        found.map(|(_, _, end)| *end)
    }
}

/// What keeps a replacement in C's convention from standing for the routine of vmlinux at `address`.
pub fn own(facts: &Facts, text: &Text, address: u64) -> Option<String> {
    let (_, end) = symbols::around(&facts.kallsyms, address);
    if let Some(register) = first_use(text.from(address), &NO_ARGUMENT) {
        return Some(format!("it takes a value in {register:?}"));
    }
    let body = text.from(address).into_iter();
    let mut body = body.take_while(|instruction| instruction.ip() < end);
    if body.any(|i| i.flow_control() != FlowControl::Call && i.near_branch_target() == address) {
        return Some("it jumps to its first instruction".to_owned());
    }
    text.behind(CALL, address).find_map(|end| {
        let register = first_use(text.from(end), &LOST)?;
        let (caller, _) = symbols::around(&facts.kallsyms, end - 1);
        Some(format!("{caller} expects {register:?} to survive the call"))
    })
}

/// The first of `registers` that is read before it is written, up to a place where the code goes elsewhere for good.
fn first_use(code: Decoder<'_>, registers: &[Register]) -> Option<Register> {
    let mut waiting = registers.to_vec();
    let mut info = InstructionInfoFactory::new();
    for instruction in code.into_iter().take(64) {
        let goes_on = matches!(
            instruction.flow_control(),
            FlowControl::Next | FlowControl::ConditionalBranch
        );
        if !goes_on {
            break;
        }
        if instruction.mnemonic() == Mnemonic::Nop {
            continue;
        }
        let used = info.info(&instruction).used_registers();
        let full = |used: &iced_x86::UsedRegister| used.register().full_register();
        // A register minus itself and the carry says nothing of what it held.
        let is_carry = instruction.mnemonic() == Mnemonic::Sbb
            && instruction.op0_register() == instruction.op1_register();
        let reads = |used: &&iced_x86::UsedRegister| {
            !is_carry && !matches!(used.access(), OpAccess::Write | OpAccess::CondWrite)
        };
        if let Some(used) = used
            .iter()
            .filter(reads)
            .find(|used| waiting.contains(&full(used)))
        {
            return Some(full(used));
        }
        waiting.retain(|register| !used.iter().any(|used| full(used) == *register));
    }
    None
}

/// A table of Markdown: which routines can be redirected, and why not.
pub fn table(facts: &Facts) -> Result<String> {
    let code = facts.text()?;
    let code = code.context("this kernel has no /proc/kcore, which shows its code")?;
    let mut rows: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for folder in FOLDERS {
        let path = facts.source.join("arch/x86").join(folder);
        for entry in fs::read_dir(&path)? {
            let file = entry?;
            let name = file.file_name().to_string_lossy().into_owned();
            // Thunks stand in the place of one instruction, and are no routines.
            if !name.ends_with(".S") || name.ends_with("_32.S") || name == "retpoline.S" {
                continue;
            }
            let source = fs::read_to_string(file.path())?;
            for routine in source.lines().filter_map(routine) {
                if let Some(verdict) = verdict(facts, &code, routine) {
                    let row = rows.entry((format!("{folder}/{name}"), verdict));
                    row.or_default().insert(format!("`{routine}`"));
                }
            }
        }
    }
    let mut text = "| file | a redirect | routines |\n|---|---|---|\n".to_owned();
    for ((file, verdict), routines) in rows {
        let routines: Vec<String> = routines.into_iter().collect();
        text += &format!("| {file} | {verdict} | {} |\n", routines.join(", "));
    }
    Ok(text)
}

/// `None` where this kernel has no such routine, or has freed it.
fn verdict(facts: &Facts, code: &Text, name: &str) -> Option<String> {
    let symbols = symbols::in_vmlinux(&facts.kallsyms, &facts.traced, name);
    let address = symbols.address.filter(|_| !symbols.init)?;
    Some(if facts.is_blacklisted(name, Some(address)) {
        "no: no kprobe may be on it".to_owned()
    } else if symbols.traced > 0 {
        "no: ftrace reaches it".to_owned()
    } else if let Some(why) = own(facts, code, address) {
        format!("no: {why}")
    } else {
        let ways = [CALL, JUMP].map(|kind| code.behind(kind, address).count());
        match ways.iter().sum() {
            0 => "to no effect: nothing in vmlinux calls it".to_owned(),
            1 => "yes, of one caller in vmlinux".to_owned(),
            ways => format!("yes, of {ways} callers in vmlinux"),
        }
    })
}

/// The routine that a line of assembly begins.
fn routine(line: &str) -> Option<&str> {
    let (start, rest) = line.strip_prefix("SYM_")?.split_once('(')?;
    let starts = start.contains("FUNC_START") || start.contains("CODE_START");
    rest.split(')').next().filter(|_| starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(code: &[u8], registers: &[Register]) -> Option<Register> {
        first_use(
            Decoder::with_ip(64, code, 0, DecoderOptions::NONE),
            registers,
        )
    }

    #[test]
    fn what_is_read_before_it_is_written_must_survive() {
        // mov eax, edi; ret
        assert_eq!(uses(&[0x89, 0xf8, 0xc3], &LOST), Some(Register::RDI));
        // xor edi, edi; mov eax, edi; ret
        assert_eq!(uses(&[0x31, 0xff, 0x89, 0xf8, 0xc3], &LOST), None);
        // ret; mov eax, edi
        assert_eq!(uses(&[0xc3, 0x89, 0xf8], &LOST), None);
    }

    #[test]
    fn callers_are_found() {
        // call 0x1000; nop; jmp 0x1000
        let code = [0xe8, 0xfb, 0, 0, 0, 0x90, 0xe9, 0xf5, 0, 0, 0];
        let file = [&0xf00_u64.to_le_bytes()[..], &code].concat();
        let text = Text::new(&file).unwrap();
        assert_eq!(text.behind(CALL, 0x1000).collect::<Vec<_>>(), [0xf05]);
        assert_eq!(text.behind(JUMP, 0x1000).collect::<Vec<_>>(), [0xf0b]);
    }

    #[test]
    fn a_line_begins_a_routine() {
        assert_eq!(
            routine("SYM_FUNC_START(__sw_hweight32)"),
            Some("__sw_hweight32")
        );
        assert_eq!(routine("SYM_TYPED_FUNC_START(__memset)"), Some("__memset"));
        assert_eq!(routine("SYM_FUNC_END(__memset)"), None);
    }
}

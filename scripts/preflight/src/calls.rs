// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where code goes, as far as the file tells: by direct calls and jumps. What is called through a pointer, or later by a work
//! item, is not seen.

use std::collections::BTreeSet;

use iced_x86::ConstantOffsets;
use iced_x86::Decoder;
use iced_x86::DecoderOptions;
use iced_x86::FlowControl;
use iced_x86::Instruction;
use iced_x86::InstructionInfoFactory;
use iced_x86::OpAccess;
use iced_x86::Register;

use crate::tables::Image;
use crate::tables::Place;
use crate::tables::Symbol;
use crate::tables::Target;

/// What one function's instructions do.
#[derive(Default)]
struct Code {
    /// Where they go, and whether by a jump.
    steps: Vec<(Target, bool)>,
    /// What of others they write to, by name.
    writes: Vec<String>,
}

/// What a function and those that it calls do to the world outside the module.
#[derive(Debug, Default)]
pub struct Reached {
    /// Names, and by which functions it came there.
    calls: Vec<(String, String)>,
    pub writes: Vec<String>,
}

impl Reached {
    /// The way to the first call of one that is `wanted`.
    pub fn call(&self, wanted: impl Fn(&str) -> bool) -> Option<&String> {
        self.calls
            .iter()
            .find(|(name, _)| wanted(name))
            .map(|(_, chain)| chain)
    }
}

fn read(image: &Image<'_>, function: &Symbol) -> Code {
    let Place(section, start) = function.place;
    let bytes = image.bytes(function.place);
    let len = usize::try_from(function.size).map_or(bytes.len(), |size| size.min(bytes.len()));
    let mut decoder = Decoder::with_ip(64, &bytes[..len], start, DecoderOptions::NONE);
    let mut info = InstructionInfoFactory::new();
    let mut code = Code::default();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let ip = instruction.ip();
        match instruction.flow_control() {
            FlowControl::Call
            | FlowControl::ConditionalBranch
            | FlowControl::UnconditionalBranch => {
                let is_jump = instruction.flow_control() != FlowControl::Call;
                let at = Place(section, ip);
                let target = match image.reference(at, instruction.len() as u64) {
                    // It counts from the end of the instruction, and the addend says so.
                    Some((at, Target::Here(place))) => {
                        Target::Here(place.plus(instruction.next_ip().wrapping_sub(at.1)))
                    }
                    Some((_, outside)) => outside.clone(),
                    None => Target::Here(Place(section, instruction.near_branch_target())),
                };
                code.steps.push((target, is_jump));
            }
            FlowControl::IndirectCall => {
                code.steps
                    .push((Target::Outside("a pointer".to_owned()), false));
            }
            _ => code.writes.extend(written(
                image,
                &instruction,
                decoder.get_constant_offsets(&instruction),
                &mut info,
                section,
            )),
        }
    }
    code
}

/// What of others an instruction writes to. What a segment register moves is a task's or a processor's own.
fn written(
    image: &Image<'_>,
    instruction: &Instruction,
    constants: ConstantOffsets,
    info: &mut InstructionInfoFactory,
    section: usize,
) -> Option<String> {
    let at = Place(section, instruction.ip()).plus(constants.displacement_offset() as u64);
    let Some(Target::Outside(name)) = image.relocations.get(&at) else {
        return None;
    };
    let memory = info.info(instruction).used_memory();
    let writes = [
        OpAccess::Write,
        OpAccess::ReadWrite,
        OpAccess::CondWrite,
        OpAccess::ReadCondWrite,
    ];
    let is_written = memory
        .iter()
        .any(|memory| writes.contains(&memory.access()));
    let is_own = instruction.segment_prefix() != Register::None;
    (constants.has_displacement() && is_written && !is_own).then(|| name.clone())
}

/// Follows the calls from the function at `from`.
pub fn reached(image: &Image<'_>, from: Place) -> Reached {
    let mut reached = Reached::default();
    let mut seen = BTreeSet::from([from]);
    let mut waiting: Vec<(&Symbol, String)> = Vec::new();
    waiting.extend(
        image
            .symbol_at(from)
            .map(|symbol| (symbol, readable(symbol))),
    );
    let mut next = 0;
    while let Some((function, chain)) = waiting.get(next).cloned() {
        next += 1;
        let code = read(image, function);
        reached.writes.extend(code.writes);
        for (target, _) in code.steps {
            match target {
                Target::Outside(name) => {
                    let chain = format!("{chain} -> {name}");
                    reached.calls.push((name, chain));
                }
                Target::Here(place) => {
                    let symbol = image
                        .symbol_at(place)
                        .filter(|s| s.is_code && seen.insert(place));
                    waiting.extend(symbol.map(|s| (s, format!("{chain} -> {}", readable(s)))));
                }
            }
        }
    }
    reached
}

/// Another function of the module that the one at `from` ends in, and that calls others in its turn: while a task sleeps there,
/// nothing of the function at `from` is on its stack.
pub fn left_to(image: &Image<'_>, from: Place) -> Option<String> {
    let function = image.symbol_at(from)?;
    let steps = read(image, function).steps.into_iter();
    let jumps = steps.filter_map(|step| match step {
        (Target::Here(place), true) if place != from => {
            image.symbol_at(place).filter(|symbol| symbol.is_code)
        }
        _ => None,
    });
    let is_call = |name: &str| !["__fentry__", "__x86_return_thunk"].contains(&name);
    let mut others = jumps.filter(|symbol| !symbol.name.contains(".cold"));
    others
        .find(|symbol| reached(image, symbol.place).call(is_call).is_some())
        .map(readable)
}

/// As the author wrote it.
fn readable(symbol: &Symbol) -> String {
    format!("{:#}", rustc_demangle::demangle(&symbol.name))
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a damaged file does: an error or an answer, never a panic, nor time without end.

use std::ops::Range;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use btf_rs::Btf;
use object::Object as _;
use object::ObjectSection as _;

use crate::dwarf;
use crate::facts::Code;
use crate::facts::Facts;
use crate::findings;
use crate::module;
use crate::prototype::Prototype;
use crate::tables::Image;

/// How BTF begins.
const BTF_MAGIC: [u8; 2] = [0x9f, 0xeb];

/// What looking at one module may take; seen is a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// Changes bytes of `files`, modules and BTF, by lot, some ten times a second: `Ok` is how often that was an error and how often none,
/// `Err` the first file that is too much.
pub fn run(
    facts: &Facts,
    files: &[Vec<u8>],
    time: Duration,
    seed: u64,
) -> Result<[u64; 2], Vec<u8>> {
    let mut lot = fastrand::Rng::with_seed(seed);
    let mut random = |below: usize| lot.usize(..below.max(1));
    let usual = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let end = Instant::now() + time;
    let mut ended = [0; 2];
    let mut too_much = None;
    while Instant::now() < end && too_much.is_none() {
        let mut bytes = files[random(files.len())].clone();
        let len = bytes.len();
        // A small section is as likely as a large one: 0 is the header, the last the table of sections at the end.
        let sections = ranges(&bytes);
        let at = sections[random(sections.len())].clone();
        match random(8) {
            0 => bytes.truncate(random(len)),
            few => {
                for _ in 0..few {
                    let at = (at.start + random(at.len())).min(len - 1);
                    bytes[at] = random(256) as u8;
                }
            }
        }
        let began = Instant::now();
        match panic::catch_unwind(AssertUnwindSafe(|| look(facts, &bytes))) {
            Ok(done) if began.elapsed() < PATIENCE => ended[usize::from(done.is_ok())] += 1,
            _ => too_much = Some(bytes),
        }
    }
    panic::set_hook(usual);
    too_much.map_or(Ok(ended), Err)
}

/// Where the parts of a file are.
fn ranges(bytes: &[u8]) -> Vec<Range<usize>> {
    let file = module::parse(bytes).ok();
    let sections = file.iter().flat_map(|file| file.sections());
    let ranges = sections.filter_map(|section| section.file_range());
    let ranges = ranges.map(|(at, size)| at as usize..(at + size) as usize);
    let last = bytes.len().saturating_sub(4096);
    ranges
        .chain([0..64, last..bytes.len(), 0..bytes.len()])
        .collect()
}

/// As the kernel's BTF, or as a livepatch, and as what is patched.
fn look(facts: &Facts, bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(&BTF_MAGIC) {
        let btf = Btf::from_bytes(bytes)?;
        for function in ["vfs_read", "tcp_v4_rcv", "kernel_clone"] {
            Prototype::from_btf(&btf, function);
        }
        return Ok(());
    }
    findings::of(facts, bytes)?;
    let code = Code::Module(facts, bytes.to_vec());
    let symbols = Image::new(module::parse(bytes)?)?.symbols;
    let functions = symbols.iter().filter(|one| one.is_code && one.size > 0);
    for function in functions.take(8) {
        code.symbols(&function.name)?;
        code.prototype(&function.name)?;
    }
    dwarf::read(&module::parse(bytes)?, |_| true, true).map(drop)
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a kernel knows of its functions: asked of a guest once, then kept.
//!
//! - `kallsyms`: `/proc/kallsyms`.
//! - `traced`: `available_filter_functions_addrs` of tracefs, the places where ftrace, and so a `klp_func`, may be.
//! - `blacklist`: that of kprobes, which `klp::Redirect` is bound to.
//! - `text`: the code as it runs, behind its address.
//! - `btf`: `/sys/kernel/btf/vmlinux`, with the prototypes.
//! - `notes` and `version`: which build it is; `took`: how many seconds it took to ask.
//!
//! Of modules that are not loaded their files tell the same.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use btf_rs::Btf;
use btf_rs::Type;
use fs_err as fs;
use walkdir::DirEntry;
use walkdir::WalkDir;

use crate::convention::Text;
use crate::definitions::Definitions;
use crate::dwarf;
use crate::inlined;
use crate::inlined::Inlined;
use crate::module;
use crate::prototype::Prototype;
use crate::symbols;
pub use crate::symbols::Object;
use crate::symbols::Symbols;
use crate::tables::Sizes;
use crate::xtask;

/// Copies what the guest's kernel tells into the folder that it may write to.
const ASK: &str = r#"set -e
to=$1
mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
mountpoint -q /sys/kernel/tracing || mount -t tracefs none /sys/kernel/tracing
cat /proc/kallsyms > "$to/kallsyms"
cat /sys/kernel/tracing/available_filter_functions_addrs > "$to/traced"
cat /sys/kernel/debug/kprobes/blacklist > "$to/blacklist"
cat /sys/kernel/btf/vmlinux > "$to/btf"
cat /sys/kernel/notes > "$to/notes"
cat /proc/version > "$to/version"
python3 - > "$to/text" << 'EOF'
import os, struct, sys
places = {name: int(at, 16) for at, _, name, *_ in map(str.split, open("/proc/kallsyms"))}
begin, end = places["_stext"], places["_etext"]
if os.path.exists("/proc/kcore"):
    core = os.open("/proc/kcore", os.O_RDONLY)
    start, = struct.unpack("Q", os.pread(core, 8, 32))
    size, count = struct.unpack("HH", os.pread(core, 4, 54))
    for i in range(count):
        offset, at, _, length = struct.unpack("4Q", os.pread(core, 32, start + i * size + 8))
        if at <= begin < at + length:
            sys.stdout.buffer.write(struct.pack("Q", begin))
            while begin < end:
                data = os.pread(core, min(end - begin, 1 << 20), offset + begin - at)
                sys.stdout.buffer.write(data)
                begin += len(data)
EOF
"#;

/// A kernel's answers.
pub struct Facts {
    pub release: String,
    /// The source tree.
    pub source: PathBuf,
    pub definitions: Definitions,
    /// Where modules are looked for.
    modules: Vec<PathBuf>,
    pub kallsyms: String,
    pub traced: BTreeSet<u64>,
    /// Where all of it is kept.
    pub dir: PathBuf,
    pub blacklist: String,
    btf: Btf,
    /// What vmlinux and its modules export; `None` where the build left no list.
    pub exported: Option<BTreeSet<String>>,
}

/// What is kept in `dir` under `name`.
pub fn read(dir: &Path, name: &str) -> Result<Vec<u8>> {
    Ok(fs::read(dir.join(name))?)
}

/// The same as text.
pub fn read_text(dir: &Path, name: &str) -> Result<String> {
    Ok(String::from_utf8_lossy(&read(dir, name)?).into_owned())
}

impl Facts {
    /// What is kept, asked first where nothing is.
    pub fn open() -> Result<Facts> {
        let given = |name: &str| {
            env::var(name)
                .with_context(|| format!("{name} is not set: run it as `cargo xtask ask`"))
        };
        let dir = PathBuf::from(given("KLP_FACTS")?);
        if !dir.join("took").exists() {
            ask(&dir)?;
        }
        let text = |name: &str| read_text(&dir, name);
        Ok(Facts {
            release: given("KLP_RELEASE")?,
            definitions: Definitions::new(given("KLP_SOURCE")?.into()),
            source: given("KLP_SOURCE")?.into(),
            modules: vec![given("KLP_MODULES")?.into()],
            kallsyms: text("kallsyms")?,
            traced: symbols::addresses(&text("traced")?),
            blacklist: text("blacklist")?,
            btf: Btf::from_bytes(&read(&dir, "btf")?).context("reading the kernel's BTF")?,
            exported: fs::read_to_string(given("KLP_SYMVERS")?).ok().map(|text| {
                let names = text.lines().filter_map(|line| line.split('\t').nth(1));
                names.map(str::to_owned).collect()
            }),
            dir,
        })
    }

    /// The code of vmlinux, which is large and seldom asked for; `None` where the kernel has no /proc/kcore.
    pub fn text(&self) -> Result<Option<Text>> {
        Ok(Text::new(&read(&self.dir, "text")?))
    }

    /// Targets may be beside `module`, too.
    pub fn look_beside(&mut self, module: &Path) {
        self.modules.extend(module.parent().map(Path::to_path_buf));
        self.modules.dedup();
    }

    /// The code of `object`; `None` where the kernel has no such module.
    pub fn code(&self, object: &Object) -> Result<Option<Code<'_>>> {
        Ok(match object {
            Object::Vmlinux => Some(Code::Vmlinux(self)),
            Object::Module(module) => {
                let bytes = self.module_file(module)?;
                bytes.map(|bytes| Code::Module(self, bytes))
            }
        })
    }

    /// The functions of vmlinux that ftrace reaches.
    pub fn traced_functions(&self) -> Vec<&str> {
        let init = symbols::init_text(&self.kallsyms);
        let symbols = self.kallsyms.lines().filter_map(symbols::symbol);
        let traced = symbols.filter(|(address, kind, _, module)| {
            matches!(kind, 't' | 'T')
                && module.is_none()
                && !init.contains(address)
                && symbols::is_traced(&self.traced, address)
        });
        traced.map(|(_, _, name, _)| name).collect()
    }

    /// May no kprobe be on it? Of several names of one routine the list has one.
    pub fn is_blacklisted(&self, name: &str, address: Option<u64>) -> bool {
        self.blacklist.lines().any(|line| {
            let (range, listed) = line.split_once('\t').unwrap_or((line, ""));
            let begin = range.split('-').next().and_then(symbols::number);
            listed == name || begin.is_some_and(|begin| Some(begin) == address)
        })
    }

    /// May a module use it?
    pub fn is_exported(&self, name: &str) -> bool {
        self.exported
            .as_ref()
            .is_none_or(|names| names.contains(name))
    }

    /// How large the structures of livepatch are, by its configuration.
    pub fn sizes(&self) -> Result<Sizes> {
        let size = |name: &str| {
            let types = self.btf.resolve_types_by_name(name)?;
            let size = types.iter().find_map(|this| match this {
                Type::Struct(this) => Some(this.size() as u64),
                _ => None,
            });
            size.with_context(|| format!("the kernel's BTF has no struct {name}"))
        };
        Ok(Sizes {
            patch: size("klp_patch")?,
            object: size("klp_object")?,
            func: size("klp_func")?,
        })
    }

    /// How many types its BTF has.
    pub fn types(&self) -> u32 {
        let (first, last) = self.btf.base().type_id_range();
        last - first + 1
    }

    /// How many modules the kernel has, loaded or not.
    pub fn module_count(&self) -> usize {
        let files = self.modules.iter().flat_map(WalkDir::new).flatten();
        let names: BTreeSet<_> = files.filter_map(|file| module_name(&file)).collect();
        names.iter().filter(|name| !name.starts_with('.')).count()
    }

    /// The object that has `name`, for who did not say which one, and others that have it as well; where the guest had none
    /// loaded, a module from beside one of `sources`, which are places like `net/ipv4/tcp.c:7`.
    pub fn objects_with(&self, name: &str, sources: &[String]) -> Result<(Object, Vec<Object>)> {
        let has = |line| symbols::symbol(line).filter(|(_, _, symbol, _)| *symbol == name);
        let objects: BTreeSet<&str> = self
            .kallsyms
            .lines()
            .filter_map(has)
            .map(|(_, _, _, module)| module.unwrap_or("vmlinux"))
            .collect();
        let mut objects = objects.into_iter().map(Object::new);
        if let Some(first) = objects.next() {
            return Ok((first, objects.collect()));
        }
        let folders = sources
            .iter()
            .filter_map(|source| Path::new(source).parent());
        let folders: BTreeSet<_> = folders
            .map(|folder| Path::new("kernel").join(folder))
            .collect();
        let folders = self
            .modules
            .iter()
            .flat_map(|root| folders.iter().map(|folder| root.join(folder)));
        let files = folders
            .flat_map(|folder| WalkDir::new(folder).max_depth(1))
            .flatten();
        for name_of_module in files.filter_map(|file| module_name(&file)) {
            let object = Object::new(&name_of_module);
            let code = self.code(&object)?;
            if code.is_some_and(|code| code.symbols(name).is_ok_and(|symbols| symbols.code > 0)) {
                return Ok((object, Vec::new()));
            }
        }
        Ok((Object::Vmlinux, Vec::new()))
    }

    /// The module's file, unpacked.
    fn module_file(&self, module: &str) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.modules.iter().find_map(|folder| find(folder, module)) else {
            return Ok(None);
        };
        let unpack = match file.extension().and_then(|e| e.to_str()) {
            Some("xz") => "xz",
            Some("zst") => "zstd",
            Some("gz") => "gzip",
            _ => return Ok(Some(fs::read(&file)?)),
        };
        let unpacked = Command::new(unpack)
            .args(["--decompress", "--stdout"])
            .arg(&file)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("starting {unpack}"))?;
        if !unpacked.status.success() {
            bail!("{unpack} cannot unpack {}", file.display());
        }
        Ok(Some(unpacked.stdout))
    }
}

/// An object's code: that of the kernel, or a module's file.
pub enum Code<'a> {
    Vmlinux(&'a Facts),
    Module(&'a Facts, Vec<u8>),
}

impl Code<'_> {
    /// The symbols of a name.
    pub fn symbols(&self, name: &str) -> Result<Symbols> {
        match self {
            Code::Vmlinux(facts) => Ok(symbols::in_vmlinux(&facts.kallsyms, &facts.traced, name)),
            Code::Module(_, bytes) => module::symbols(bytes, name),
        }
    }

    /// The prototype of a function, where BTF has it, or DWARF of a module without BTF.
    pub fn prototype(&self, name: &str) -> Result<Option<Prototype>> {
        let (facts, bytes) = match self {
            Code::Vmlinux(facts) => return Ok(Prototype::from_btf(&facts.btf, name)),
            Code::Module(facts, bytes) => (facts, bytes),
        };
        let Some(section) = module::section(bytes, ".BTF")? else {
            return dwarf::prototype(bytes, name);
        };
        let btf = Btf::from_split_bytes(&section, &facts.btf).context("reading a module's BTF")?;
        Ok(Prototype::from_btf(&btf, name))
    }

    /// Where else the code of a function is; without debug information its file is compiled for that.
    pub fn inlined(&self, object: &Object, name: &str) -> Result<Inlined> {
        match self {
            Code::Vmlinux(facts) => {
                let places = || Ok(symbols::places(&facts.kallsyms));
                inlined::of(facts, object, name, places)
            }
            Code::Module(_, bytes) if self.has_debug_info()? => {
                let info = dwarf::read(&module::parse(bytes)?, |_| false, true)?;
                let all = info.inlined.into_iter();
                let into = all.filter(|((callee, _), _)| callee == name);
                let into = into.map(|((_, caller), call)| (caller, call)).collect();
                Ok(Inlined { into, unsure: None })
            }
            Code::Module(facts, bytes) => {
                inlined::of(facts, object, name, || module::places(bytes))
            }
        }
    }

    pub fn has_debug_info(&self) -> Result<bool> {
        match self {
            Code::Vmlinux(_) => Ok(false),
            Code::Module(_, bytes) => Ok(module::section(bytes, ".debug_info")?.is_some()),
        }
    }
}

/// Boots the kernel once; the folder is whole or not there.
fn ask(dir: &Path) -> Result<()> {
    let parent = dir.parent().context("the facts have no folder")?;
    fs::create_dir_all(parent)?;
    // Another checkout may ask at the same time.
    let aside = tempfile::tempdir_in(parent)
        .with_context(|| format!("creating a folder in {}", parent.display()))?;
    let aside = aside.path();
    fs::write(aside.join("ask"), ASK)?;
    eprintln!("asking the kernel for its functions, for once");
    let began = Instant::now();
    let status = xtask()?
        .args(["shell", "--no-build", "--writable"])
        .arg(aside)
        .arg("--")
        .args([
            "bash".as_ref(),
            aside.join("ask").as_os_str(),
            aside.as_os_str(),
        ])
        .stdin(Stdio::null())
        .status()
        .context("starting a guest")?;
    if !status.success() {
        bail!("the guest that was to tell of its functions ended with {status}");
    }
    let took = format!("{:.1}", began.elapsed().as_secs_f64());
    fs::write(aside.join("took"), took)?;
    let _ = fs::remove_dir_all(dir);
    Ok(fs::rename(aside, dir)?)
}

/// `module`'s file below `folder`, whatever it is packed by.
fn find(folder: &Path, module: &str) -> Option<PathBuf> {
    let mut files = WalkDir::new(folder).into_iter().flatten();
    files
        .find(|file| module_name(file).is_some_and(|name| name == module))
        .map(DirEntry::into_path)
}

/// The name of a module by its file's; dashes are as good as underscores.
fn module_name(file: &DirEntry) -> Option<String> {
    let name = file.file_name().to_string_lossy().replace('-', "_");
    let (stem, _) = name
        .split_once(".ko")
        .filter(|_| !file.file_type().is_dir())?;
    Some(stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_either_name() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("drivers/net");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("snd-x.ko.xz"), "").unwrap();
        assert_eq!(find(dir.path(), "snd_x"), Some(deep.join("snd-x.ko.xz")));
        assert_eq!(find(dir.path(), "snd"), None);
    }
}

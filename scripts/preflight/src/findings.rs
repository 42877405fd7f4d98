// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is wrong with a livepatch on a kernel.

use anyhow::Result;
use serde::Serialize;
use Grade::Refused;
use Grade::Warning;
use Grade::Wrong;

use crate::calls;
use crate::convention;
use crate::facts::Code;
use crate::facts::Facts;
use crate::inlined::Inlined;
use crate::module;
use crate::module::Patched;
use crate::symbols::Object;
use crate::symbols::Symbols;
use crate::tables::Image;
use crate::tables::Table;
use crate::tables::CALLBACK_NAMES;

/// How bad it is; the worst of a module decides the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// It loads, and may not do all that its author wants.
    Warning,
    /// insmod, or the load of the target, fails.
    Refused,
    /// It loads, and crashes or does nothing.
    Wrong,
}

impl Grade {
    pub const ALL: [Grade; 3] = [Warning, Refused, Wrong];

    /// The exit status; clean is 0.
    pub fn code(self) -> u8 {
        10 + self as u8
    }

    /// As a list has it.
    pub fn name(self) -> &'static str {
        ["warning", "refused", "wrong"][self as usize]
    }

    fn word(self) -> &'static str {
        ["warning", "would be refused", "would crash or do nothing"][self as usize]
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub grade: Grade,
    /// `OBJECT:FUNCTION`, or the module's own.
    pub symbol: String,
    pub what: String,
    pub help: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = self.grade.word();
        write!(f, "{word}: {}: {}; {}", self.symbol, self.what, self.help)
    }
}

/// The findings of one module.
#[derive(Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Adds one: what is wrong; what to do.
    fn say(&mut self, grade: Grade, symbol: &str, text: impl AsRef<str>) {
        let text = text.as_ref();
        let (what, help) = text.split_once("; ").unwrap_or((text, ""));
        self.0.push(Finding {
            grade,
            symbol: symbol.to_owned(),
            what: what.to_owned(),
            help: help.to_owned(),
        });
    }
}

/// Everything about the module in `bytes`; `None` where it is no livepatch.
pub fn of(facts: &Facts, bytes: &[u8]) -> Result<Option<Vec<Finding>>> {
    let info = module::modinfo(bytes)?;
    let get = |wanted: &str| {
        info.iter()
            .find(|(key, _)| key == wanted)
            .map(|(_, value)| value.as_str())
    };
    let image = Image::new(module::parse(bytes)?)?;
    let wanted = module::wanted(&image.file);
    let name = get("name").unwrap_or("module");
    let enables = wanted.iter().any(|name| name == "klp_enable_patch");
    let mut all = Findings::default();
    match (get("livepatch").is_some(), enables) {
        (false, false) => return Ok(None),
        (false, true) => all.say(Refused, name, "it is not marked as a livepatch; modinfo must say livepatch=Y (klp_enable_patch() answers EINVAL)"),
        (true, false) => all.say(Wrong, name, "it does not call klp_enable_patch(); nothing is patched"),
        (true, true) => {}
    }
    let built_for = get("vermagic")
        .and_then(|v| v.split(' ').next())
        .unwrap_or("no kernel");
    if built_for != facts.release {
        let release = &facts.release;
        let text = format!("it was built for {built_for}; build it for {release}");
        all.say(Refused, name, text);
    }
    let mut others = Vec::new();
    let depends = get("depends").unwrap_or_default();
    for module in depends.split(',').filter(|name| !name.is_empty()) {
        if let Some(Code::Module(_, bytes)) = facts.code(&Object::new(module))? {
            others.extend(module::exports(&bytes)?);
        }
    }
    let nowhere = |name: &&String| !facts.is_exported(name) && !others.contains(name);
    for symbol in wanted.iter().filter(nowhere) {
        all.say(Refused, symbol, "nobody exports it; a module may use what is in the kernel's Module.symvers, or of a module that it depends on (insmod says `Unknown symbol`)");
    }
    let tables = image.tables(facts.sizes()?)?;
    if tables.is_empty() && enables {
        all.say(Warning, name, "its tables were not found; they are filled in when it is loaded, so what it patches was not looked at");
    }
    for table in &tables {
        if !table.is_ended {
            all.say(Wrong, &table.object.to_string(), "a table has no empty entry at its end; the core goes on with what is behind it: end it by `{}`");
        }
        callbacks(&mut all, &image, table);
    }
    let patched = module::patched(&info, &image, &tables)?;
    for one in &patched {
        let symbol = format!("{}:{}", one.object, one.function);
        match facts.code(&one.object)? {
            _ if one.function.is_empty() => all.say(Warning, &symbol, "the function has no name; it is filled in when the module is loaded, so it was not looked at"),
            None => all.say(Wrong, &symbol, format!("this kernel has no module {}; for what is built in say `vmlinux`: the core waits for a module of this name for ever", one.object)),
            Some(code) => {
                entry(&mut all, facts, &code, one)?;
                // Of a name that is not there nobody needs to know.
                if code.has_debug_info()? || code.symbols(&one.function)?.all > 0 {
                    inlined(&mut all, &code, one, &patched)?;
                }
            }
        }
        if !one.has_new {
            let text =
                "nothing runs in its place; set new_func (klp_enable_patch() answers EINVAL)";
            all.say(Refused, &symbol, text);
        }
        if let Some(other) = one.new.and_then(|new| calls::left_to(&image, new)) {
            all.say(Wrong, &symbol, format!("the replacement is left by a jump to {other}; no stack shows it while a task sleeps there, and the module may go: do something after the call"));
        }
    }
    Ok(Some(all.0))
}

/// What waits for RTNL, under which the network stack loads modules (`net/core/`: `dev.c`, `rtnetlink.c`, `netpoll.c`).
const RTNL: [&str; 16] = [
    "rtnl_lock",
    "rtnl_lock_interruptible",
    "rtnl_lock_killable",
    "rtnl_net_lock",
    "netdev_notify_peers",
    "register_netdev",
    "unregister_netdev",
    "register_netdevice_notifier",
    "unregister_netdevice_notifier",
    "register_netdevice_notifier_net",
    "unregister_netdevice_notifier_net",
    "register_netdevice_notifier_dev_net",
    "unregister_netdevice_notifier_dev_net",
    "rtnl_unregister_all",
    "netpoll_setup",
    "netpoll_cleanup",
];

/// What waits for `klp_mutex`, or for a module that is loaded.
const KLP_MUTEX: [&str; 2] = ["klp_enable_patch", "__request_module"];

/// Has it a counterpart, by its name in C? What Rust takes has an owner, and goes back by the same function.
fn takes(name: &str) -> bool {
    let by_part = ["alloc", "_create"].iter().any(|part| name.contains(part));
    let by_end = ["_get", "_add"].iter().any(|end| name.ends_with(end));
    let is_rust = name.starts_with("_R") || name.starts_with("rust_helper_");
    !is_rust && (name.starts_with("register_") || by_part || by_end)
}

/// What callbacks do, as far as calls and direct writes tell.
fn callbacks(all: &mut Findings, image: &Image<'_>, table: &Table) {
    let [pre_patch, post_patch, _, post_unpatch] = table.callbacks;
    for (name, place) in CALLBACK_NAMES.iter().zip(table.callbacks) {
        let symbol = format!("{}:{name}", table.object);
        let Some(reached) = place.map(|place| calls::reached(image, place)) else {
            continue;
        };
        if let Some(chain) = reached.call(|name| RTNL.contains(&name)) {
            all.say(Wrong, &symbol, format!("it waits for RTNL with klp_mutex held: {chain}; modules are loaded under RTNL and wait for klp_mutex: do it in the module's init, or in a work item"));
        }
        if let Some(chain) = reached.call(|name| KLP_MUTEX.contains(&name)) {
            let text = "it waits for klp_mutex, which it holds";
            all.say(
                Wrong,
                &symbol,
                format!("{text}: {chain}; do it in the module's init"),
            );
        }
        let changes = (place == pre_patch || place == post_patch) && !table.has_states;
        if let Some(data) = reached.writes.first().filter(|_| changes) {
            all.say(Warning, &symbol, format!("it changes {data}, and the patch has no klp_state; a cumulative patch that follows does not know, and nobody gives it back"));
        }
        let taken = reached.call(takes);
        if let Some(chain) = taken.filter(|_| place == pre_patch && post_unpatch.is_none()) {
            all.say(Warning, &symbol, format!("nothing gives back what it takes: {chain}; write a post_unpatch, which also runs when another object says no"));
        }
    }
}

/// What is wrong with replacing, or redirecting, one function of an object.
pub fn entry(all: &mut Findings, facts: &Facts, code: &Code<'_>, entry: &Patched) -> Result<()> {
    let symbol = format!("{}:{}", entry.object, entry.function);
    let symbols = code.symbols(&entry.function)?;
    let is_blacklisted = facts.is_blacklisted(&entry.function, symbols.address);
    let refused = match entry.redirect {
        true => redirected(&symbols, is_blacklisted),
        false => replaced(entry, &symbols, is_blacklisted),
    };
    match refused {
        Some(text) if entry.condition => {
            let text = text.replacen("; ", ", if its condition holds; ", 1);
            all.say(Warning, &symbol, text);
        }
        Some(text) => all.say(Refused, &symbol, text),
        None => {}
    }
    if let Some(address) = symbols.address.filter(|_| entry.redirect) {
        let own = |text| convention::own(facts, &text, address);
        if let Some(why) = facts.text()?.and_then(own) {
            let what = "that is no routine in the C calling convention: replace its callers";
            all.say(Wrong, &symbol, format!("{why}; {what}"));
        }
    }
    let clones = symbols.clones.join(", ");
    if !clones.is_empty() && symbols.code > 0 {
        let help = "some callers use that copy: replace them as well";
        all.say(Warning, &symbol, format!("{clones} stays as it is; {help}"));
    }
    let old = code.prototype(&entry.function)?;
    // Debug information says `void f(void)` of every routine in assembly.
    if let Some(old) = old.filter(|old| symbols.traced > 0 || !old.is_bare()) {
        if let Some(differs) = entry.prototype.as_ref().and_then(|new| old.differs(new)) {
            let old = old.c(&entry.function);
            all.say(
                Wrong,
                &symbol,
                format!("the replacement {differs}; it is `{old}`"),
            );
        }
    }
    Ok(())
}

/// Says which functions have the code of `entry` in them, but for those that the patch replaces as well.
pub fn inlined(
    all: &mut Findings,
    code: &Code<'_>,
    entry: &Patched,
    patched: &[Patched],
) -> Result<Inlined> {
    let mut inlined = code.inlined(&entry.object, &entry.function)?;
    inlined.into.retain(|caller, _| {
        let is_it = |other: &Patched| other.object == entry.object && other.function == *caller;
        // What ran when the kernel started does not matter any more.
        let is_over = || code.symbols(caller).is_ok_and(|symbols| symbols.init);
        !(patched.iter().any(is_it) || entry.object == Object::Vmlinux && is_over())
    });
    let places = inlined
        .into
        .iter()
        .map(|(caller, at)| format!("{caller} ({at})"));
    let places = places.collect::<Vec<_>>().join(", ");
    if !places.is_empty() {
        let symbol = format!("{}:{}", entry.object, entry.function);
        let what = match code.symbols(&entry.function)?.all {
            0 => format!("its code is in {places}; it was inlined there: replace each of these"),
            _ => format!("its code is also in {places}; it was inlined there, and stays as it is: replace these as well"),
        };
        all.say(Warning, &symbol, what);
    }
    Ok(inlined)
}

/// Why the core refuses to replace it; what to do.
fn replaced(entry: &Patched, symbols: &Symbols, is_blacklisted: bool) -> Option<String> {
    let (all, position) = (symbols.all, entry.position);
    let text = match position {
        _ if all == 0 && !symbols.clones.is_empty() => return Some(format!("there is only {}; its parameters are not those of the source: replace the callers", symbols.clones.join(", "))),
        _ if all == 0 => "there is no such symbol; it was inlined, is in another object, or is not configured: replace the callers",
        0 if all > 1 => return Some(format!("{all} symbols have this name; choose one by its position (`@ N`, old_sympos), in the order of /proc/kallsyms")),
        _ if position > all => return Some(format!("there is no symbol {position} of this name, but {all}; count them in /proc/kallsyms, in its order")),
        _ if symbols.code == 0 => "it is data; change it in a callback: `new NAME --kind data`",
        _ if symbols.init && entry.object == Object::Vmlinux => "it is freed when the kernel has started; do by a callback what it should have done",
        _ if symbols.traced == 0 && is_blacklisted => "ftrace does not reach it, and no kprobe may be on it; replace the callers",
        _ if symbols.traced == 0 => "ftrace does not reach it; it is notrace, assembly or Rust: `redirects` of livepatch! may reach it, or replace the callers",
        _ => return None,
    };
    Some(text.to_owned())
}

/// The same of a redirect.
fn redirected(symbols: &Symbols, is_blacklisted: bool) -> Option<String> {
    match symbols.code {
        0 => Some("there is no such routine; a kprobe needs a symbol that is code".to_owned()),
        _ if is_blacklisted => Some("kprobes may not be on it; it is in the blacklist (noinstr, NOKPROBE_SYMBOL): redirect its callers".to_owned()),
        1 => None,
        code => Some(format!("{code} symbols have this name; a kprobe takes none of several")),
    }
}

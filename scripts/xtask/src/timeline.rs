// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel's log, told as a story: what was typed, which callback ran when, what a user saw.
//!
//! The log is the one record that has everything in order. The guest's script writes what it types
//! as `% command` and what a user would see as `# line`; the livepatch core tells of its
//! transitions; a sample tells of its callbacks as `<module>: <callback>: <object>: <text>`.

use std::sync::LazyLock;

use console::style;
use console::Style;
use regex::Regex;

use crate::oops;
use crate::oops::pattern;

/// The four moments at which a livepatch may act.
const CALLBACKS: [&str; 4] = ["pre_patch", "post_patch", "pre_unpatch", "post_unpatch"];

/// The width of the column with the times.
const TIMES: usize = 11;

static STAMP: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:<\d+>)?\[\s*(\d+\.\d+)\]"));

/// Where in the life of the livepatch an effect was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Before,
    During,
    After,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Phase::Before => "before",
            Phase::During => "during",
            Phase::After => "after",
        }
    }
}

/// What one line of the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command that was typed.
    Command(String),
    /// What a user saw.
    Effect(Phase, String),
    Callback(Callback),
    /// The livepatch core.
    Core(String),
    /// Another line of one of the modules.
    Module(String),
    /// The kernel complains.
    Complaint(String),
}

/// A callback ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    pub module: String,
    pub name: String,
    pub object: String,
    pub text: String,
}

/// An event and its time, in seconds since the boot.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub at: f64,
    pub event: Event,
}

/// The story of one livepatch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Story {
    pub entries: Vec<Entry>,
    /// When the livepatch was loaded; times are told from there.
    pub loaded: Option<f64>,
}

/// Read the story of `modules` (the livepatch first), and of those that are loaded in it, out of a kernel log.
pub fn parse(log: &str, modules: &[&str]) -> Story {
    let mut story = Story::default();
    let mut phase = Phase::Before;
    // What a livepatch that is being enabled finds, and whether it is refused.
    let (mut found, mut refused) = (phase, false);
    let mut started = false;
    let load = modules.first().map(|m| format!("insmod {m}.ko"));
    let mut modules = modules.to_vec();
    modules.extend(loaded(log));
    for line in log.lines() {
        let Some(at) = stamp(line) else { continue };
        let text = oops::message(line).trim_end();
        // What the boot says is not our story.
        started |= text.starts_with("% ") || text.starts_with("# ");
        if !started {
            continue;
        }
        let event = if let Some(command) = text.strip_prefix("% ") {
            if load.as_deref().is_some_and(|l| command.starts_with(l)) && story.loaded.is_none() {
                story.loaded = Some(at);
            }
            Event::Command(command.to_owned())
        } else if let Some(effect) = text.strip_prefix("# ") {
            Event::Effect(phase, effect.to_owned())
        } else if let Some(core) = text.strip_prefix("livepatch: ") {
            if core.starts_with("enabling patch") {
                (found, phase) = (phase, Phase::During);
            } else if core.starts_with("failed to enable patch") {
                refused = true;
            } else if core.ends_with("unpatching complete") {
                // A patch that was refused has not been there.
                phase = if refused { found } else { Phase::After };
                refused = false;
            }
            Event::Core(plain_core(core).to_owned())
        } else if let Some(event) = of_module(text, &modules) {
            event
        } else if !oops::complaints(line).is_empty() {
            Event::Complaint(text.to_owned())
        } else {
            continue;
        };
        story.entries.push(Entry { at, event });
    }
    story
}

/// The modules that a log loads.
fn loaded(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter_map(|line| {
        let (_, rest) = line.split_once("% insmod ")?;
        rest.split_once(".ko").map(|(name, _)| name)
    })
}

/// The same for a transcript, which has no times, so that it is the same on every machine.
pub fn parse_transcript(transcript: &str) -> Story {
    let stamped: String = transcript
        .lines()
        .enumerate()
        .map(|(nr, line)| format!("[{nr:5}.0] {line}\n"))
        .collect();
    parse(&stamped, &[])
}

fn stamp(line: &str) -> Option<f64> {
    STAMP.captures(line)?[1].parse().ok()
}

/// The core's words without the name of the one patch that can be in transition.
fn plain_core(core: &str) -> &str {
    core.strip_prefix('\'')
        .and_then(|rest| rest.split_once("': "))
        .map_or(core, |(_, words)| words)
}

fn of_module(text: &str, modules: &[&str]) -> Option<Event> {
    let (module, rest) = text.split_once(": ")?;
    if !modules.contains(&module) {
        return None;
    }
    let mut parts = rest.splitn(3, ": ");
    let name = parts.next().unwrap_or_default();
    if !CALLBACKS.contains(&name) {
        // The loader's word on modules from outside the tree comes with every one of them.
        return (!rest.contains("out-of-tree module taints")
            && !rest.contains("module verification failed")
            && !rest.contains("tainting kernel with TAINT_LIVEPATCH"))
        .then(|| Event::Module(text.to_owned()));
    }
    let object = parts.next().unwrap_or_default();
    Some(Event::Callback(Callback {
        module: module.to_owned(),
        name: name.to_owned(),
        object: object.trim_end_matches(':').to_owned(),
        text: parts.next().unwrap_or_default().to_owned(),
    }))
}

impl Story {
    /// What a user saw in `phase`.
    pub fn effects(&self, phase: Phase) -> Vec<&str> {
        let events = self.entries.iter().map(|entry| &entry.event);
        let seen = events.filter_map(|event| match event {
            Event::Effect(when, text) if *when == phase => Some(text.as_str()),
            _ => None,
        });
        seen.collect()
    }

    /// The callbacks in the order in which they ran.
    pub fn callbacks(&self) -> Vec<&Callback> {
        let events = self.entries.iter().map(|entry| &entry.event);
        let callbacks = events.filter_map(|event| match event {
            Event::Callback(callback) => Some(callback),
            _ => None,
        });
        callbacks.collect()
    }

    /// How long the first patching transition that came to its end took, in seconds.
    pub fn transition(&self) -> Option<f64> {
        let mut start = None;
        for entry in &self.entries {
            let Event::Core(text) = &entry.event else {
                continue;
            };
            match text.as_str() {
                "starting patching transition" => start = Some(entry.at),
                "patching complete" => return Some(entry.at - start?),
                _ => {}
            }
        }
        None
    }

    /// The story as text, at most `width` columns wide if that is known.
    ///
    /// Colours appear only where `console` finds a terminal that wants them.
    pub fn render(&self, width: Option<usize>) -> String {
        let mut out = String::new();
        let mut shown: Option<Phase> = None;
        let callbacks = self.callbacks();
        let widest = callbacks.iter().map(|c| c.object.len()).max().unwrap_or(0);
        // Whose callback it is need be said only where several patches have some.
        let several = callbacks.iter().any(|c| c.module != callbacks[0].module);
        let zero = self.loaded.or(self.entries.first().map(|entry| entry.at));
        for entry in &self.entries {
            let time = format!("{:+.3} s", entry.at - zero.unwrap_or(0.0));
            let time = style(format!("{time:>TIMES$}")).dim().to_string();
            let blank = " ".repeat(TIMES);
            let (left, mark, text, how) = match &entry.event {
                Event::Command(text) => {
                    shown = None;
                    (time, "% ", text.clone(), Style::new().bold())
                }
                Event::Effect(phase, text) => {
                    let again = shown == Some(*phase);
                    let label = if again { "" } else { phase.word() };
                    shown = Some(*phase);
                    let label = style(format!("{label:>TIMES$}")).magenta().bold();
                    let how = Style::new().magenta();
                    (label.to_string(), "# ", text.clone(), how)
                }
                Event::Callback(Callback {
                    module,
                    name,
                    object,
                    text,
                }) => {
                    let how = match name.ends_with("unpatch") {
                        true => Style::new().yellow(),
                        false => Style::new().green(),
                    };
                    let mut text = format!("{name:<12}  {object:<widest$}  {text}");
                    if several {
                        text.insert_str(0, &format!("{module}: "));
                    }
                    (time, "  * ", text.trim_end().to_owned(), how)
                }
                Event::Core(text) => (time, "  | ", text.clone(), Style::new().cyan()),
                Event::Module(text) => (blank, "    ", text.clone(), Style::new().dim()),
                Event::Complaint(text) => (time, "!!! ", text.clone(), Style::new().red().bold()),
            };
            let indent = TIMES + 2 + mark.len();
            let room = width.map_or(usize::MAX, |w| w.saturating_sub(indent).max(20));
            let wrapping = textwrap::Options::new(room)
                .break_words(false)
                .word_splitter(textwrap::WordSplitter::NoHyphenation);
            for (nr, line) in textwrap::wrap(&text, wrapping).iter().enumerate() {
                let line = how.apply_to(line);
                out += &match nr {
                    0 => format!("{left}  {}{line}\n", how.apply_to(mark)),
                    _ => format!("{:indent$}{line}\n", ""),
                };
            }
        }
        out
    }
}

/// The width to render for: that of the terminal, none in a pipe.
pub fn width() -> Option<usize> {
    let term = console::Term::stdout();
    term.is_term().then(|| usize::from(term.size().1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
[    3.861603] virtme-ng-init: starting script
[    4.000000] guest.sh[12.34]: case 1: x
[    4.100000] % sysctl -q -w a.b=100
[    4.200000] # a.b = 100
[    4.300000] % insmod fix.ko when=pre
[    4.301000] fix: loading out-of-tree module taints kernel.
[    4.302000] livepatch: enabling patch 'fix'
[    4.303000] livepatch: 'fix': initializing patching transition
[    4.304000] fix: pre_patch: vmlinux: 3 namespaces
[    4.305000] livepatch: 'fix': starting patching transition
[    5.305000] livepatch: 'fix': completing patching transition
[    5.306000] fix: post_patch: vmlinux
[    5.307000] livepatch: 'fix': patching complete
[    5.400000] # a.b = 1000
[    5.500000] % echo 0 > /sys/kernel/livepatch/fix/enabled
[    5.600000] fix: pre_unpatch: vmlinux: word: with colon
[    5.700000] livepatch: 'fix': unpatching complete
[    5.800000] # a.b = 100
[    5.900000] WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1/0x2
[    6.000000] unrelated: line
";

    #[test]
    fn the_log_becomes_a_story() {
        let story = parse(LOG, &["fix"]);
        assert_eq!(story.loaded, Some(4.3));
        assert_eq!(story.effects(Phase::Before), ["a.b = 100"]);
        assert_eq!(story.effects(Phase::During), ["a.b = 1000"]);
        assert_eq!(story.effects(Phase::After), ["a.b = 100"]);
        let callbacks: Vec<_> = story
            .callbacks()
            .into_iter()
            .map(|c| (c.name.as_str(), c.object.as_str()))
            .collect();
        let names = ["pre_patch", "post_patch", "pre_unpatch"];
        assert_eq!(callbacks, names.map(|name| (name, "vmlinux")));
        let took = story.transition().unwrap();
        assert!((took - 1.002).abs() < 1e-6, "{took}");
        let events: Vec<&Event> = story.entries.iter().map(|entry| &entry.event).collect();
        assert!(!events.iter().any(|event| matches!(event, Event::Module(_))));
        assert!(matches!(events.last(), Some(Event::Complaint(_))));
    }

    #[test]
    fn a_refused_patch_was_not_there() {
        let log = "\
[    1.0] % insmod fix.ko
[    1.1] livepatch: enabling patch 'fix'
[    1.2] livepatch: failed to enable patch 'fix'
[    1.3] livepatch: 'fix': unpatching complete
[    1.4] # still as it was
";
        let story = parse(log, &["fix"]);
        assert_eq!(story.effects(Phase::Before), ["still as it was"]);
        assert!(story.effects(Phase::After).is_empty());
    }

    #[test]
    fn a_handover_is_told_from_both_sides() {
        let log = "\
[    1.0] % insmod one.ko
[    1.1] livepatch: enabling patch 'one'
[    1.2] one: post_patch: vmlinux
[    1.3] # a = 2
[    2.0] % insmod two.ko
[    2.1] livepatch: enabling patch 'two'
[    2.2] two: post_patch: vmlinux
[    2.3] livepatch: 'two': patching complete
[    2.4] # a = 3
[    2.5] livepatch: 'two': unpatching complete
[    2.6] # a = 1
";
        console::set_colors_enabled(false);
        let story = parse(log, &["two"]);
        assert_eq!(story.effects(Phase::During), ["a = 2", "a = 3"]);
        assert_eq!(story.effects(Phase::After), ["a = 1"]);
        let text = story.render(None);
        assert!(text.contains("* one: post_patch    vmlinux\n"), "{text}");
        assert!(text.contains("| patching complete\n"), "{text}");
    }

    #[test]
    fn plain_text_for_a_pipe() {
        console::set_colors_enabled(false);
        let text = parse(LOG, &["fix"]).render(None);
        for line in [
            "     before  # a.b = 100\n",
            "   +0.000 s  % insmod fix.ko when=pre\n",
            "   +0.004 s    * pre_patch     vmlinux  3 namespaces\n",
            "   +1.006 s    * post_patch    vmlinux\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn narrow_terminals_wrap_at_blanks() {
        for line in parse(LOG, &["fix"]).render(Some(50)).lines() {
            assert!(console::measure_text_width(line) <= 50, "{line}");
        }
    }
}

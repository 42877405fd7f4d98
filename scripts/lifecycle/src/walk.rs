// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Walks over the graph on the kernel that runs, and compares the log and sysfs after each step with what the machine says.

use std::ffi::CString;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::kmod::delete_module;
use nix::kmod::init_module;
use nix::kmod::DeleteModuleFlags;
use nix::unistd::gettid;

use crate::graph::Graph;
use crate::wanted::compare;
use crate::wanted::is_of_the_machine;
use crate::wanted::parked;
use crate::wanted::wanted;
use crate::wanted::SYSFS;
use crate::world::Action;
use crate::world::Patch;
use crate::world::State;
use crate::world::ALPHA;
use crate::world::BETA;
use crate::world::OBJECTS;
use crate::world::OPEN;
use crate::world::PATCHES;

const CONTROL: &str = "/proc/dynamic_debug/control";

/// The kernel tries a transition each second; of what takes longer something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// A module's file, and where its name is in it.
struct Image {
    own: String,
    bytes: Vec<u8>,
    names: Vec<usize>,
}

impl Image {
    fn read(own: String, modules: &Path) -> Result<Image> {
        let path = modules.join(format!("{own}.ko"));
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let places = bytes.windows(own.len()).enumerate();
        let names = places
            .filter(|(_, w)| *w == own.as_bytes())
            .map(|(at, _)| at)
            .collect();
        Ok(Image { own, bytes, names })
    }
}

pub struct Walker<'a> {
    graph: &'a Graph,
    at: usize,
    /// Of the livepatches' names.
    prefix: &'a str,
    images: Vec<Image>,
    /// The copies of each livepatch that forced transitions have pinned.
    pinned: [usize; 2],
    log: File,
    parked: Option<(JoinHandle<()>, i32)>,
}

fn write(path: &str, value: &str) -> Result<(), Errno> {
    let error = |e: std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or_default());
    fs::write(path, value).map_err(error)
}

fn read(path: impl AsRef<Path>) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|_| "none".to_owned());
    text.trim_end().to_owned()
}

impl<'a> Walker<'a> {
    /// In the first state, with a kernel that tells of each attempt to switch a task. The livepatches have `prefix` before their names.
    pub fn new(graph: &'a Graph, modules: &Path, prefix: &'a str) -> Result<Walker<'a>> {
        write(CONTROL, "file kernel/livepatch/* +p").context("switching the core's messages on")?;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let log = options.open("/dev/kmsg").context("opening /dev/kmsg")?;
        let images = [
            format!("{prefix}{}", PATCHES[0].name()),
            format!("{prefix}{}", PATCHES[1].name()),
            OBJECTS[ALPHA].to_owned(),
            OBJECTS[BETA].to_owned(),
        ]
        .into_iter()
        .map(|own| Image::read(own, modules))
        .collect::<Result<_>>()?;
        let mut walker = Walker {
            graph,
            at: 0,
            prefix,
            images,
            pinned: [0; 2],
            log,
            parked: None,
        };
        // Copies that an earlier walk has pinned are not in the way.
        for patch in PATCHES {
            let there = |dir: &str, name: &str| Path::new(dir).join(name).exists();
            while there("/sys/module", &walker.name(patch)) && !there(SYSFS, &walker.name(patch)) {
                walker.pinned[patch as usize] += 1;
            }
        }
        ensure!(
            walker.differs(&graph.states[0]).is_empty(),
            "something of ours is loaded already"
        );
        walker.lines();
        Ok(walker)
    }

    /// The name of the livepatch's file.
    fn own(&self, patch: Patch) -> String {
        format!("{}{}", self.prefix, patch.name())
    }

    /// The livepatch under the name of its present copy, as long as its own.
    fn name(&self, patch: Patch) -> String {
        let own = self.own(patch);
        match self.pinned[patch as usize] {
            0 => own,
            copy => {
                let (stem, nr) = own.split_at(own.len() - 4);
                format!("{stem}{copy:0width$}", width = nr.len())
            }
        }
    }

    /// Load a module, from memory, where its name can be that of a copy.
    fn insmod(&self, name: &str, own: &str, parameters: &str) -> Result<(), Errno> {
        let image = self
            .images
            .iter()
            .find(|image| image.own == own)
            .ok_or(Errno::ENOENT)?;
        let mut bytes = image.bytes.clone();
        for at in &image.names {
            bytes[*at..at + own.len()].copy_from_slice(name.as_bytes());
        }
        init_module(&bytes, &CString::new(parameters).unwrap_or_default())
    }

    fn act(&mut self, action: Action) -> Result<(), Errno> {
        let rmmod = |name: &str| {
            let name = CString::new(name).unwrap_or_default();
            delete_module(&name, DeleteModuleFlags::O_NONBLOCK)
        };
        let file = |patch, file: &str| format!("{SYSFS}/{}/{file}", self.name(patch));
        match action {
            Action::Insmod(patch, fails) => {
                let fails = fails.map_or("none", |object| OBJECTS[object]);
                self.insmod(
                    &self.name(patch),
                    &self.own(patch),
                    &format!("fail={fails}"),
                )
            }
            Action::Rmmod(patch) => rmmod(&self.name(patch)),
            Action::InsmodTarget(target, fails) => {
                let name = OBJECTS[target];
                let tell = |object: &str| match fails {
                    Some(patch) => write(
                        &format!("/sys/module/{}/parameters/fail", self.name(patch)),
                        object,
                    ),
                    None => Ok(()),
                };
                tell(name)?;
                let result = self.insmod(name, name, "");
                tell("none")?;
                result
            }
            Action::RmmodTarget(target) => rmmod(OBJECTS[target]),
            Action::Enabled(patch, enabled) => {
                write(&file(patch, "enabled"), if enabled { "1" } else { "0" })
            }
            Action::Force(patch) => write(&file(patch, "force"), "1"),
            Action::Park => {
                write(OPEN, "N")?;
                let (tell, told) = mpsc::channel();
                let reader = thread::spawn(move || {
                    let _ = tell.send(gettid().as_raw());
                    let _ = fs::read("/proc/lifecycle_alpha_park");
                });
                let tid = told.recv().map_err(|_| Errno::ECHILD)?;
                self.parked = Some((reader, tid));
                // Asleep, and not on its way there.
                let start = Instant::now();
                while !read(format!("/proc/self/task/{tid}/stat")).contains(") D ")
                    && start.elapsed() < PATIENCE
                {
                    thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            }
            Action::LetGo => {
                write(OPEN, "Y")?;
                match self.parked.take().map(|(reader, _)| reader.join()) {
                    Some(Ok(())) => Ok(()),
                    _ => Err(Errno::ECHILD),
                }
            }
        }
    }

    /// What the kernel has logged since the last time.
    fn lines(&mut self) -> Vec<String> {
        let (mut lines, mut record) = (Vec::new(), [0; 8192]);
        loop {
            match self.log.read(&mut record) {
                Ok(size) => {
                    let text = String::from_utf8_lossy(&record[..size]);
                    let line = text.lines().next().and_then(|l| l.split_once(';'));
                    lines.extend(line.map(|(_, line)| line.to_owned()));
                }
                Err(e) if e.raw_os_error() == Some(Errno::EPIPE as i32) => {
                    lines.push("livepatch: lines were lost".to_owned())
                }
                Err(_) => return lines,
            }
        }
    }

    /// In what the kernel is not as it is to be in that state.
    fn differs(&self, state: &State) -> Vec<String> {
        let mut differs = Vec::new();
        for (what, path, value) in wanted(state, |patch| self.name(patch)) {
            compare(&mut differs, &what, &value, &read(path));
        }
        let task = self.parked_in();
        compare(&mut differs, "the parked task", parked(state), &task);
        differs
    }

    /// The module in whose function the parked task sleeps.
    fn parked_in(&self) -> String {
        let Some((_, tid)) = &self.parked else {
            return "none".to_owned();
        };
        let stack = read(format!("/proc/self/task/{tid}/stack"));
        let frame = stack.lines().find(|l| l.contains("lifecycle_alpha_enter+"));
        let module = frame
            .and_then(|f| f.split(['[', ']']).nth(3))
            .unwrap_or("nowhere");
        match PATCHES.into_iter().find(|p| module == self.name(*p)) {
            Some(patch) => patch.name().to_owned(),
            None if module == OBJECTS[ALPHA] => "the original".to_owned(),
            None => "a pinned module".to_owned(),
        }
    }

    /// Take a step and compare; what was logged.
    pub fn step(&mut self, nr: usize) -> Result<Vec<String>> {
        let way = &self.graph.ways[self.at][nr];
        let to = &self.graph.states[way.to];
        let before = PATCHES.map(|p| self.name(p));
        let errno = self.act(way.action).err();
        let start = Instant::now();
        // A module that is to be pinned is gone from the core when its folder is.
        let gone = way.shown.pinned.map(|p| before[p as usize].clone());
        if let (Some(name), Some(patch)) = (&gone, way.shown.pinned) {
            while Path::new(SYSFS).join(name).exists() && start.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(20));
            }
            self.pinned[patch as usize] += 1;
        }
        let mut shown = self.differs(to);
        while !shown.is_empty() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
            shown = self.differs(to);
        }
        let mut differs = Vec::new();
        let errno = errno.map_or("none".to_owned(), |e| format!("{e:?}"));
        compare(
            &mut differs,
            "the errno",
            way.shown.errno.unwrap_or("none"),
            &errno,
        );
        differs.extend(shown);
        if let Some(name) = gone {
            compare(
                &mut differs,
                "users of the pinned module",
                "1",
                &read(format!("/sys/module/{name}/refcnt")),
            );
        }
        let mut stalls = false;
        let mut log = Vec::new();
        for line in self.lines() {
            let asleep = |tid| format!(":{tid} is sleeping on function lifecycle_alpha_enter");
            stalls |= self
                .parked
                .as_ref()
                .is_some_and(|(_, tid)| line.ends_with(&asleep(*tid)));
            let own = |line: String, p: Patch| line.replace(&before[p as usize], p.name());
            let line = PATCHES.into_iter().fold(line, own);
            if is_of_the_machine(&line) {
                log.push(line);
            }
        }
        if way.shown.stalls && !stalls {
            differs.push(
                "the core does not say that the parked task sleeps on lifecycle_alpha_enter"
                    .to_owned(),
            );
        }
        if log != way.shown.log {
            differs.push(format!(
                "the log: wanted\n    {}\n  seen\n    {}",
                way.shown.log.join("\n    "),
                log.join("\n    ")
            ));
        }
        if !differs.is_empty() {
            let path = self.graph.path(0, |at| at == self.at).unwrap_or_default();
            let mut at = 0;
            let mut typed = Vec::new();
            for nr in path.into_iter().chain([nr]) {
                let way = &self.graph.ways[at][nr];
                typed.push(way.action.to_string());
                at = way.to;
            }
            bail!(
                "the kernel differs after\n  {}\n  {}",
                typed.join("\n  "),
                differs.join("\n  ")
            );
        }
        self.at = way.to;
        Ok(log)
    }

    /// Take the steps that lead to the first state.
    pub fn home(&mut self) -> Result<()> {
        for nr in self.graph.path(self.at, |to| to == 0).unwrap_or_default() {
            self.step(nr)?;
        }
        Ok(())
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn pinned(&self) -> usize {
        self.pinned.iter().sum()
    }
}

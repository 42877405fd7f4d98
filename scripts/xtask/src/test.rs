// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask test`: everything that can be checked, and one verdict.
//!
//! Two kinds of suites. The host's ([`host::ALL`]) need no guest. Each `selftests/test-<stem>.sh` runs in a guest of its
//! own, on a kernel that nobody else has touched. A pattern chooses among the names of both; what is not chosen costs
//! nothing. All that a run needs, kernels and modules as well, goes through one queue.
//!
//! Scripts run on the kernel of the command line. With `CI_FULL=1` they run once more on each small kernel of our own, as
//! `debug <stem>`, `cfi <stem>` and so on. Without, where the debug kernel is built already, the few of [`DEBUG_SOME`] do; all
//! of them when it was asked for (`--debug`). There a splat of lockdep, KASAN or UBSAN, a leak, a warning fails the run,
//! wherever in the log it stands.

pub mod guest;
pub mod host;
pub mod script;
mod told;

use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;

use crate::cargo;
use crate::catalog;
use crate::cli::Choice;
use crate::cli::KernelArgs;
use crate::cli::TestArgs;
use crate::kbuild;
use crate::kernel::own;
use crate::kernel::Kernel;
use crate::ktap::Case;
use crate::ktap::Verdict;
use crate::paths;
use crate::process;
use crate::queue;
use crate::queue::Job;
use crate::report;
use crate::results;
use crate::results::Suite;
use crate::vm;
use crate::vm::Clock;
pub use guest::cases;
use guest::How;
pub use script::is_fatal;
use script::Script;
use told::Told;

/// The suites of the debug kernel that run in a normal test: every rule, and the widest use of foreign locks.
const DEBUG_SOME: [&str; 2] = ["rules", "netdev-features"];

/// What stands before the name of a suite that runs on the debug kernel.
const DEBUG: &str = "debug ";

/// What building takes when it was not built before.
const KERNEL_GUESS: Duration = Duration::from_secs(600);
const MODULES_GUESS: Duration = Duration::from_secs(120);

/// A kernel, with what is to run on it.
struct On<'a> {
    args: KernelArgs,
    /// Stands before the names of the suites, where it is one of our own beside that of the command line.
    prefix: String,
    scripts: Vec<&'a Script>,
    /// Suites of the host look at it.
    host: bool,
    kernel: OnceLock<Kernel>,
}

/// The kernels of a run that chooses among all suites, each with all that may run on it.
fn kernels<'a>(args: &KernelArgs, scripts: &'a [Script]) -> Result<Vec<On<'a>>> {
    let on = |args: KernelArgs, prefix: String, wanted: &dyn Fn(&Script) -> bool| On {
        args,
        host: prefix.is_empty(),
        prefix,
        scripts: scripts.iter().filter(|script| wanted(script)).collect(),
        kernel: OnceLock::new(),
    };
    let choice = args.choice();
    let mut found = Vec::new();
    if choice != Choice::debug() {
        found.push(on(args.clone(), String::new(), &|_| true));
    }
    // Beside Debian's kernels alone.
    let may_be = matches!(choice, Choice::Image(_));
    for name in own::names()? {
        let kernel = args.with(&name);
        let prefix = format!("{name} ");
        let is_debug = prefix == DEBUG;
        let all = may_be && guest::is_full() || is_debug && choice == Choice::debug();
        if all || may_be && is_debug && Kernel::resolve(&kernel).is_ok() {
            let wanted = |script: &Script| all || DEBUG_SOME.contains(&script.stem.as_str());
            found.push(on(kernel, prefix, &wanted));
        }
    }
    Ok(found)
}

/// What a suite on a kernel of our own is called without that kernel.
fn of_own(name: &str) -> Option<&str> {
    let (kernel, of) = name.split_once(' ')?;
    own::fragment(kernel).is_file().then_some(of)
}

/// The names of all suites that this run can choose from, in their order; `named` where some are named.
fn names(kernels: &[On<'_>], named: bool) -> Vec<String> {
    let mut names = Vec::new();
    if kernels.iter().any(|on| on.host) {
        let all = host::ALL
            .iter()
            .filter(|host| !host.full || named || guest::is_full());
        names.extend(all.map(|host| host.name.to_owned()));
    }
    for on in kernels {
        names.extend(on.scripts.iter().map(|script| on.name(&script.name)));
    }
    names
}

/// The names that contain one of `patterns`, in their own order; all without any.
pub fn choose(names: &[String], patterns: &[String]) -> Result<Vec<String>> {
    let mut chosen = Vec::new();
    for pattern in patterns {
        chosen.extend(choose_like(names, pattern)?);
    }
    let mut names = names.to_vec();
    names.retain(|name| patterns.is_empty() || chosen.contains(name));
    Ok(names)
}

fn choose_like(names: &[String], pattern: &str) -> Result<Vec<String>> {
    let wanted = pattern
        .trim_start_matches("test-")
        .trim_end_matches(".sh")
        .replace('_', "-");
    let is_own = |name: &String| of_own(name).is_some();
    // With `--debug` there are no others, and nobody has to say it twice.
    let only_own = names.iter().all(is_own);
    let is_it = |name: &&String| **name == wanted || only_own && of_own(name) == Some(&wanted);
    // A whole name means that one and not the others that contain it.
    if let Some(name) = names.iter().find(is_it) {
        return Ok(vec![name.clone()]);
    }
    let mut like = names.to_vec();
    like.retain(|name| name.contains(&wanted));
    if like.is_empty() {
        return Err(catalog::unknown("test like", pattern, names));
    }
    // Those on our own kernels are slow: they are meant by their own names, or where there are no others.
    if of_own(&format!("{wanted} ")).is_none() && !like.iter().all(is_own) {
        like.retain(|name| !is_own(name));
    }
    Ok(like)
}

impl On<'_> {
    /// How a suite on it is called.
    fn name(&self, of: &str) -> String {
        format!("{}{of}", self.prefix)
    }

    /// Forget what was not chosen.
    fn retain(&mut self, chosen: &[String]) {
        let is_chosen = |name: &str| chosen.contains(&format!("{}{name}", self.prefix));
        self.scripts.retain(|script| is_chosen(&script.name));
        let mut host = host::ALL.iter().filter(|host| host.kernel);
        self.host &= host.any(|host| is_chosen(host.name));
    }

    fn build_modules(&self) -> Result<()> {
        let folders: Option<Vec<_>> = self.scripts.iter().map(|s| s.modules.clone()).collect();
        let folders = folders.map(|folders| folders.concat());
        if folders.as_ref().is_none_or(|names| !names.is_empty()) {
            kbuild::build(self.kernel()?, &folders.unwrap_or_default())?;
        }
        for package in self.scripts.iter().filter_map(|s| s.package.as_ref()) {
            let mut command = cargo::command();
            command.args(["build", "--quiet", "--package", package]);
            process::capture(command.current_dir(paths::root()))?;
        }
        Ok(())
    }

    /// The only case of a script that this kernel cannot run: its program is for this machine, or modules of it refuse the kernel.
    /// The one that all was tested with must not be refused.
    fn refusal(&self, kernel: &Kernel, script: &Script) -> Option<Case> {
        let skip = |why| Case::new("all of it", Verdict::Skip(why));
        if let (true, Some(program)) = (kernel.is_arm64(), &script.package) {
            return Some(skip(format!(
                "the program {program} is not built for arm64"
            )));
        }
        let mut folders = script.modules.iter().flatten();
        let why = folders.find_map(|folder| kbuild::refused(kernel, folder))?;
        Some(match self.args.choice() {
            Choice::Image(None) => Case::failed("its modules are built", vec![why]),
            _ => skip(why),
        })
    }

    fn kernel(&self) -> Result<&Kernel> {
        self.kernel.get().context("the kernel is not built")
    }
}

/// `cargo xtask test [PATTERN…]`.
pub fn run(args: &KernelArgs, options: &TestArgs) -> Result<()> {
    let run = suites(args, options)?;
    // Nothing comes after its last line, which is for programs.
    print!("{}", report::summary(&run));
    run.worst().map_or(Ok(()), |failure| Err(failure.into()))
}

/// The suites that tell of a kernel, whichever it is.
pub fn of_kernel() -> Result<Vec<String>> {
    let scripts = script::all(&paths::root())?;
    let mut names: Vec<String> = scripts.into_iter().map(|script| script.name).collect();
    names.push("story".to_owned());
    Ok(names)
}

/// Runs the suites that were chosen, and tells of each as it ends.
pub fn suites(args: &KernelArgs, options: &TestArgs) -> Result<results::Run> {
    let mut scripts = script::all(&paths::root())?;
    scripts.retain(|script| !script.named || !options.patterns.is_empty());
    let mut kernels = kernels(args, &scripts)?;
    let names = names(&kernels, !options.patterns.is_empty());
    let names = choose(&names, &options.patterns)?;
    for on in &mut kernels {
        on.retain(&names);
    }
    kernels.retain(|on| !on.scripts.is_empty() || on.host);
    // Before anything slow: the files that are to be written can be.
    for file in [&options.json, &options.junit].into_iter().flatten() {
        fs::write(file, "")?;
    }

    let start = Instant::now();
    let told = Told::new(names.len());
    queue::run(
        &jobs(args, &kernels, &names, options.bless, &told),
        queue::workers(),
    )?;
    let mut suites = told.end();
    let place = |suite: &Suite| names.iter().position(|name| *name == suite.name);
    suites.sort_by_key(place);

    let release = kernels
        .iter()
        .find(|on| !on.scripts.is_empty())
        .and_then(|on| Some(on.kernel.get()?.release.clone()));
    let run = results::Run::new(release, start.elapsed(), suites);
    run.remember(&results::last_file())?;
    if let Some(file) = &options.json {
        run.write_json(file)?;
    }
    if let Some(file) = &options.junit {
        run.write_junit(file)?;
    }
    Ok(run)
}

/// What is to do: kernels, their modules, then all suites.
fn jobs<'a>(
    args: &'a KernelArgs,
    kernels: &'a [On<'a>],
    chosen: &'a [String],
    bless: bool,
    told: &'a Told,
) -> Vec<Job<'a>> {
    let last = results::last();
    let plan = |name: &str, otherwise: u64| {
        let seen = last.suites.iter().find(|suite| suite.name == name);
        let milliseconds = seen.map_or(otherwise * 1000, |suite| suite.milliseconds);
        let guess = Duration::from_millis(milliseconds);
        told.plan(name, guess);
        guess
    };
    let mut jobs: Vec<Job<'a>> = Vec::new();
    let mut host_kernel = Vec::new();
    for on in kernels {
        let ready = Kernel::resolve(&on.args).is_ok();
        jobs.push(Job {
            guess: if ready { Duration::ZERO } else { KERNEL_GUESS },
            // One that is there keeps nobody waiting.
            alone: (!ready).then_some("kernel"),
            ..Job::new(move || {
                let kernel = Kernel::ensure(&on.args)?;
                if on.scripts.iter().any(|script| script.clock == Clock::Real) {
                    // Found out once, not by each guest.
                    vm::accel(&kernel)?;
                }
                on.kernel.get_or_init(|| kernel);
                Ok(())
            })
        });
        let kernel = jobs.len() - 1;
        if on.host {
            host_kernel.push(kernel);
        }
        if on.scripts.is_empty() {
            continue;
        }
        jobs.push(Job {
            guess: MODULES_GUESS,
            after: vec![kernel],
            ..Job::new(|| on.build_modules())
        });
        let modules = jobs.len() - 1;
        for script in &on.scripts {
            let name = on.name(&script.name);
            let how = How {
                debug: on.prefix == DEBUG,
                bless: bless && on.prefix.is_empty(),
                live: told.total == 1,
            };
            jobs.push(Job {
                guess: plan(&name, script.guess()),
                after: vec![modules],
                ..Job::new(move || {
                    told.begin(&name);
                    let kernel = on.kernel()?;
                    let (suite, trouble) = match on.refusal(kernel, script) {
                        Some(case) => (guest::none(kernel, &name, case), String::new()),
                        None => guest::run(kernel, script, &name, how)?,
                    };
                    told.tell(suite, &trouble);
                    Ok(())
                })
            });
        }
    }
    let is_chosen = |host: &&host::Host| chosen.iter().any(|name| name == host.name);
    for host in host::ALL.iter().filter(is_chosen) {
        let after = host.kernel.then(|| host_kernel.clone());
        jobs.push(Job {
            guess: plan(host.name, host.guess),
            after: after.unwrap_or_default(),
            alone: host.cargo.then_some("cargo"),
            ..Job::new(|| {
                told.begin(host.name);
                told.tell(host::run(args, host.name)?, "");
                Ok(())
            })
        });
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(names: &[&str], pattern: &str) -> String {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let patterns: Vec<String> = pattern.split(' ').map(str::to_owned).collect();
        let chosen = choose(&names, &patterns);
        chosen.map_or_else(|error| error.to_string(), |chosen| chosen.join(" "))
    }

    #[test]
    fn a_pattern_chooses_by_name() {
        let names = ["fmt", "sysctl-update", "sysctl-update-more", "rules"];
        assert_eq!(like(&names, "rul"), "rules");
        assert_eq!(like(&names, "sysctl"), "sysctl-update sysctl-update-more");
        // A whole name, in any of its spellings, means only itself.
        for name in ["sysctl-update", "sysctl_update", "test-sysctl-update.sh"] {
            assert_eq!(like(&names, name), "sysctl-update");
        }
        assert_eq!(like(&names, "rul fmt"), "fmt rules");
        assert!(like(&names, "nothing").contains("there are: fmt"));
    }

    #[test]
    fn our_own_kernels_have_suites_of_their_own() {
        let like_of = |names: &'static [&str]| move |pattern| like(names, pattern);
        // By what is typed: the usual one; the debug one by its name, or because there is no other.
        let some = like_of(&["fmt", "rules", "x", "x 1/2", "debug rules", "cfi x 1/2"]);
        assert_eq!(some("rule"), "rules");
        assert_eq!(some("1/2"), "x 1/2");
        assert_eq!(some("cfi"), "cfi x 1/2");
        assert_eq!(some("debug"), "debug rules");
        let all = like_of(&["debug rules", "debug x", "debug xy"]);
        assert_eq!(all("x"), "debug x");
        assert_eq!(all("rul"), "debug rules");
    }
}

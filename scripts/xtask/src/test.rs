// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask test`: everything that can be checked, and one verdict.
//!
//! Two kinds of suites. The host's (`fmt`, `tidy`, `shellcheck`, `cargo-test`, `clippy`, `doc`, `book`) need no
//! guest. Each `selftests/test-<stem>.sh` runs in a guest of its own, on a kernel that nobody else
//! has touched. A pattern chooses among the names of both; what is not chosen costs nothing.
//!
//! The same scripts run a second time on the debug kernel, as `debug <stem>`: all of them when it was asked for
//! (`--debug`, `CI_FULL=1`), else, where that kernel is built already, the few of [`DEBUG_SOME`]. There a splat of
//! lockdep, KASAN or UBSAN, a leak, a warning fails the run, wherever in the log it stands.

use std::collections::VecDeque;
use std::fs;
use std::io::BufRead;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::book;
use crate::cargo;
use crate::catalog;
use crate::cli::Choice;
use crate::cli::KernelArgs;
use crate::error;
use crate::error::Failure;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::ktap;
use crate::ktap::Verdict;
use crate::oops;
use crate::paths;
use crate::process;
use crate::process::quote;
use crate::report;
use crate::results;
use crate::results::Case;
use crate::results::Suite;
use crate::tidy;
use crate::upstream;
use crate::vm;
use crate::vm::End;
use crate::vm::Guest;

/// The host's suites, cheapest first.
const HOST: [&str; 7] = [
    "fmt",
    "tidy",
    "shellcheck",
    "cargo-test",
    "clippy",
    "doc",
    "book",
];

/// The case that each guest adds to those of its script.
const LOG_CASE: &str = "the kernel does not complain";

/// The same of a script that says `panic=`.
const DEATH_CASE: &str = "the kernel dies as expected";

/// The kernel's own scripts, on our modules.
const UPSTREAM: &str = "upstream";

/// The suites of the debug kernel that run in a normal test: every rule, and the widest use of foreign locks.
const DEBUG_SOME: [&str; 2] = ["rules", "netdev-features"];

/// What stands before the name of a suite that runs on the debug kernel.
const DEBUG: &str = "debug ";

/// Asks for all that there is, however long it takes.
const FULL: &str = "CI_FULL";

/// What a test script may take when `selftests/settings` says nothing.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Booting, and a machine that does other things as well, on top of a script's own time-out.
const BOOT_MARGIN: Duration = Duration::from_secs(120);

/// What the user asked for.
pub struct Options<'a> {
    pub pattern: Option<&'a str>,
    pub json: Option<&'a Path>,
    pub junit: Option<&'a Path>,
    /// Let the scripts write their transcripts anew.
    pub bless: bool,
}

/// A test script and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Script {
    stem: String,
    path: PathBuf,
    /// Module folders to build first; all of them when the script does not say.
    modules: Option<Vec<String>>,
    nics: u32,
    cpus: u32,
    memory_mib: u32,
    /// Its own time-out, on a kernel without checkers.
    timeout: Option<Duration>,
    /// Words for the kernel's command line.
    append: Vec<String>,
    /// The guest must die with a complaint that contains this.
    panic: Option<String>,
}

/// Which suites of the debug kernel a run can choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DebugSuites {
    None,
    Some,
    All,
}

impl DebugSuites {
    /// `--debug` and `CI_FULL=1` ask for all; a debug kernel that is there already for some.
    fn wanted(args: &KernelArgs) -> DebugSuites {
        if args.debug {
            return DebugSuites::All;
        }
        if matches!(args.choice(), Choice::Dir(_)) {
            // Somebody's own kernel, of which there is but one.
            return DebugSuites::None;
        }
        if std::env::var(FULL).is_ok_and(|value| value == "1") {
            return DebugSuites::All;
        }
        match Kernel::resolve(&debug_args(args)) {
            Ok(_) => DebugSuites::Some,
            Err(_) => DebugSuites::None,
        }
    }

    fn has(self, stem: &str) -> bool {
        match self {
            DebugSuites::None => false,
            DebugSuites::Some => DEBUG_SOME.contains(&stem),
            DebugSuites::All => true,
        }
    }
}

fn debug_args(args: &KernelArgs) -> KernelArgs {
    KernelArgs {
        debug: true,
        ..args.clone()
    }
}

/// The names of all suites that this run can choose from, in their order.
fn names(scripts: &[Script], debug: DebugSuites, only_debug: bool) -> Vec<String> {
    let mut names = Vec::new();
    if !only_debug {
        names.extend(HOST.map(str::to_owned));
        names.extend(scripts.iter().map(|script| script.stem.clone()));
        names.push(UPSTREAM.to_owned());
    }
    let stems = scripts.iter().map(|script| script.stem.as_str());
    for stem in stems.chain([UPSTREAM]).filter(|stem| debug.has(stem)) {
        names.push(format!("{DEBUG}{stem}"));
    }
    names
}

/// What is to run in guests of one kernel.
struct Guests<'a> {
    args: KernelArgs,
    /// Stands before the names of the suites.
    prefix: &'static str,
    scripts: Vec<&'a Script>,
    upstream: bool,
    bless: bool,
}

impl<'a> Guests<'a> {
    /// Those of `chosen` that begin with `prefix`.
    fn new(
        args: KernelArgs,
        prefix: &'static str,
        scripts: &'a [Script],
        chosen: &[String],
        bless: bool,
    ) -> Guests<'a> {
        let is_chosen = |name: &str| chosen.contains(&format!("{prefix}{name}"));
        Guests {
            args,
            prefix,
            scripts: scripts.iter().filter(|s| is_chosen(&s.stem)).collect(),
            upstream: is_chosen(UPSTREAM),
            // A transcript is that of the usual kernel.
            bless: bless && prefix.is_empty(),
        }
    }

    fn is_empty(&self) -> bool {
        self.scripts.is_empty() && !self.upstream
    }

    /// Build what they need and run them.
    fn run(&self, kernel: &Kernel) -> Result<Vec<Suite>> {
        let modules = if self.upstream {
            kbuild::build(kernel, &[])?
        } else {
            build(kernel, &self.scripts)?
        };
        let mut suites = self.run_scripts(kernel, &modules)?;
        if self.upstream {
            let name = format!("{}{UPSTREAM}", self.prefix);
            let mut found = upstream::run_cases(kernel, |line| report::live(&name, line))?;
            for suite in &mut found {
                suite.name = format!("{}{}", self.prefix, suite.name);
                print!("{}", report::suite(suite, false));
            }
            suites.extend(found);
        }
        Ok(suites)
    }
}

/// `cargo xtask test [PATTERN]`.
pub fn run(args: &KernelArgs, options: &Options<'_>) -> Result<()> {
    let scripts = scripts(&paths::root())?;
    let debug = DebugSuites::wanted(args);
    let chosen = choose(&names(&scripts, debug, args.debug), options.pattern)?;
    // Before anything slow: the files that are to be written can be.
    for file in [options.json, options.junit].into_iter().flatten() {
        fs::write(file, "").with_context(|| format!("writing {}", file.display()))?;
    }

    let start = Instant::now();
    let mut suites = Vec::new();
    for name in HOST.iter().filter(|name| chosen.iter().any(|c| c == *name)) {
        process::check_interrupted()?;
        let suite = host_suite(args, name)?;
        print!("{}", report::suite(&suite, false));
        suites.push(suite);
    }
    let usual = KernelArgs {
        debug: false,
        ..args.clone()
    };
    let mut kernel_release = None;
    for guests in [
        Guests::new(usual, "", &scripts, &chosen, options.bless),
        Guests::new(debug_args(args), DEBUG, &scripts, &chosen, options.bless),
    ] {
        if guests.is_empty() {
            continue;
        }
        let kernel = Kernel::ensure(&guests.args)?;
        suites.extend(guests.run(&kernel)?);
        kernel_release.get_or_insert(kernel.release);
    }

    let run = results::Run::new(kernel_release, start.elapsed(), suites);
    run.remember()?;
    if let Some(file) = options.json {
        run.write_json(file)?;
    }
    if let Some(file) = options.junit {
        run.write_junit(file)?;
    }
    let worst = run.worst();
    if let Some(failure) = worst.as_ref().filter(|f| **f != Failure::TestFailed) {
        println!("\n{failure}");
    }
    // Nothing comes after its last line, which is for programs.
    print!("{}", report::summary(&run));
    match worst {
        None => Ok(()),
        Some(failure) => bail!(error::Told(failure)),
    }
}

/// The names that contain `pattern`; all without one.
fn choose(names: &[String], pattern: Option<&str>) -> Result<Vec<String>> {
    let Some(pattern) = pattern else {
        return Ok(names.to_vec());
    };
    let wanted = pattern
        .trim_start_matches("test-")
        .trim_end_matches(".sh")
        .replace('_', "-");
    let on_debug = |name: &&String| name.starts_with(DEBUG);
    // With `--debug` there are no others, and nobody has to say it twice.
    let named = format!("{DEBUG}{wanted}");
    let both = !names.iter().all(|name| on_debug(&name));
    let chosen: Vec<String> = if names.contains(&wanted) {
        // A whole name means that one and not the others that contain it.
        vec![wanted]
    } else if !both && names.contains(&named) {
        vec![named]
    } else {
        let mut like: Vec<&String> = names.iter().filter(|n| n.contains(&wanted)).collect();
        // Those of the debug kernel are slow: they are meant by their own names, or where there are no others.
        if !wanted.starts_with(DEBUG.trim_end()) && !like.iter().all(on_debug) {
            like.retain(|name| !on_debug(name));
        }
        like.into_iter().cloned().collect()
    };
    if chosen.is_empty() {
        return Err(catalog::unknown("test like", pattern, names));
    }
    Ok(chosen)
}

// ---- the host ---------------------------------------------------------------

fn host_suite(args: &KernelArgs, name: &str) -> Result<Suite> {
    let start = Instant::now();
    let log = log_folder()?.join(format!("{name}.log"));
    let cases = match name {
        "cargo-test" => cargo_test(&log)?,
        "fmt" => vec![command_case(
            "rustfmt would change nothing",
            cargo::command().args(["fmt", "--all", "--check"]),
            &log,
        )?],
        "shellcheck" => shellcheck(&log)?,
        "tidy" => tidy::check(&paths::root())?
            .into_iter()
            .map(|check| Case::from_complaints(check.name, check.complaints))
            .collect(),
        "clippy" => vec![
            command_case(
                "host tools",
                cargo::command().args(["clippy", "--quiet", "--all-targets", "--", "-Dwarnings"]),
                &log,
            )?,
            function_case("kernel crates", cargo::clippy(args))?,
        ],
        "doc" => vec![function_case("rustdoc", cargo::doc(args).map(drop))?],
        _ => the_book(args, &log)?,
    };
    Ok(Suite::new(name, start.elapsed(), cases, log))
}

fn log_folder() -> Result<PathBuf> {
    let folder = paths::target().join("xtask");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// One case from a function that may fail; an interruption is no result.
fn function_case(name: &str, result: Result<()>) -> Result<Case> {
    match result {
        Ok(()) => Ok(Case::new(name, Verdict::Pass)),
        Err(error) if error.downcast_ref() == Some(&Failure::Interrupted) => Err(error),
        Err(error) => Ok(Case::failed(name, vec![format!("{error:#}")])),
    }
}

/// One case from a command.
fn command_case(name: &str, command: &mut Command, log: &Path) -> Result<Case> {
    let mut lines = VecDeque::new();
    let status = process::logged(command.current_dir(paths::root()), log, None, |line| {
        lines.push_back(line.to_owned());
        if lines.len() > 200 {
            lines.pop_front();
        }
    })?;
    Ok(if status.success() {
        Case::new(name, Verdict::Pass)
    } else {
        Case::failed(name, lines.into())
    })
}

/// The book is built, and then read by a browser.
fn the_book(args: &KernelArgs, log: &Path) -> Result<Vec<Case>> {
    let mut cases = vec![function_case(
        "the book builds, and each of its links leads somewhere",
        book::check(args),
    )?];
    if cases.iter().any(|case| case.verdict == Verdict::Fail) {
        return Ok(cases);
    }
    let mut lines = Vec::new();
    let mut command = cargo::command();
    command
        .args(["run", "--quiet", "--package", "book-test", "--"])
        .arg(book::pages())
        .arg(log_folder()?.join("book"))
        .current_dir(paths::root());
    let status = process::logged(&mut command, log, None, |line| lines.push(line.to_owned()))?;
    let end = End::Exited(status.code().unwrap_or(1));
    cases.extend(kernel_cases(&lines.join("\n"), &end));
    Ok(cases)
}

/// The workspace's own unit tests, one case each.
fn cargo_test(log: &Path) -> Result<Vec<Case>> {
    let mut lines = Vec::new();
    let mut command = cargo::command();
    command
        .args(["test", "--no-fail-fast", "--color", "never"])
        .current_dir(paths::root());
    let status = process::logged(&mut command, log, None, |line| lines.push(line.to_owned()))?;
    Ok(libtest_cases(&lines, status.success()))
}

/// Read what Rust's test harness prints.
fn libtest_cases(lines: &[String], success: bool) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut failing: Option<String> = None;
    for line in lines {
        if let Some((name, word)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.rsplit_once(" ... "))
        {
            let verdict = match word.split([',', ' ']).next() {
                Some("ok") => Verdict::Pass,
                Some("ignored") => {
                    let why = word.split_once(", ").map_or("ignored", |(_, why)| why);
                    Verdict::Skip(why.to_owned())
                }
                _ => Verdict::Fail,
            };
            cases.push(Case::new(name, verdict));
            continue;
        }
        // `---- name stdout ----` begins what a failed test said.
        if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            failing = Some(name.to_owned());
        } else if line == "failures:" || line.starts_with("test result:") {
            failing = None;
        } else if let Some(name) = &failing {
            if let Some(case) = cases.iter_mut().find(|c| c.name == *name) {
                case.said.push(line.clone());
            }
        }
    }
    let any_failed = cases.iter().any(|case| case.verdict == Verdict::Fail);
    if !success && !any_failed {
        // It did not build, or died.
        let said = lines.iter().rev().take(40).rev().cloned().collect();
        cases.push(Case::failed("cargo test", said));
    }
    if cases.is_empty() {
        cases.push(Case::failed("cargo test", vec!["no test ran".to_owned()]));
    }
    cases
}

/// Every shell file of the checkout, one case each.
fn shellcheck(log: &Path) -> Result<Vec<Case>> {
    let root = paths::root();
    let mut cases = Vec::new();
    for file in tidy::shell_files(&root)? {
        let name = file.strip_prefix(&root).unwrap_or(&file).to_path_buf();
        let mut command = Command::new("shellcheck");
        command
            .args(["--external-sources", "--source-path=SCRIPTDIR"])
            .arg(&name);
        cases.push(command_case(&name.to_string_lossy(), &mut command, log)?);
    }
    Ok(cases)
}

// ---- guests -----------------------------------------------------------------

/// The test scripts below `root`, in the order of their names.
fn scripts(root: &Path) -> Result<Vec<Script>> {
    let samples = catalog::samples()?;
    let folders: Vec<String> = catalog::module_folders()?
        .into_iter()
        .map(|folder| folder.name)
        .collect();
    let mut found = Vec::new();
    let dir = root.join("selftests");
    for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry.context("reading selftests/")?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(stem) = name
            .strip_prefix("test-")
            .and_then(|rest| rest.strip_suffix(".sh"))
        else {
            continue;
        };
        let needs = Needs::read(&vm::read_lossy(&path));
        let of_stem = || folders.iter().find(|folder| *folder == stem);
        let modules = needs
            .modules
            .or_else(|| of_stem().map(|folder| vec![folder.clone()]));
        let of_sample = samples
            .iter()
            .find(|sample| sample.stem == stem)
            .map_or(0, |sample| sample.livepatch.nics);
        found.push(Script {
            stem: stem.to_owned(),
            path,
            modules,
            nics: needs.nics.unwrap_or(of_sample),
            cpus: needs.cpus.unwrap_or(2),
            memory_mib: needs.memory_mib.unwrap_or(1024),
            timeout: needs.timeout,
            append: needs.append,
            panic: needs.panic,
        });
    }
    found.sort_by(|a, b| a.stem.cmp(&b.stem));
    Ok(found)
}

/// What a script says that it needs, in comments at its top:
///
/// ```text
/// # xtask: modules=netdev-features,selftests nics=2 cpus=2 memory=2048 append=slub_debug
/// ```
///
/// `modules=` names module folders to build before; `modules=none` needs none of ours. A script that
/// does not say gets its sample's, or all if there is no such sample. `timeout=` is in seconds, in place of that of
/// `selftests/settings`.
///
/// `panic=Oops:` is for a script that must end with the death of its kernel, and fails when the kernel lives; its log is
/// compared with `expected/<stem>.log`, by [`fatal_cases`]. Such a script must skip itself where `KLP_GUEST` is not set.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    modules: Option<Vec<String>>,
    nics: Option<u32>,
    cpus: Option<u32>,
    memory_mib: Option<u32>,
    timeout: Option<Duration>,
    append: Vec<String>,
    panic: Option<String>,
}

impl Needs {
    fn read(text: &str) -> Needs {
        let mut needs = Needs::default();
        let words = text
            .lines()
            .take_while(|line| line.starts_with('#') || line.is_empty())
            .filter_map(|line| line.strip_prefix("# xtask:"))
            .flat_map(str::split_whitespace);
        for word in words {
            match word.split_once('=') {
                Some(("modules", names)) => {
                    let names = names.split(',').filter(|name| *name != "none");
                    needs
                        .modules
                        .get_or_insert_default()
                        .extend(names.map(str::to_owned));
                }
                Some(("nics", number)) => needs.nics = number.parse().ok(),
                Some(("cpus", number)) => needs.cpus = number.parse().ok(),
                Some(("memory", number)) => needs.memory_mib = number.parse().ok(),
                Some(("timeout", number)) => {
                    needs.timeout = number.parse().ok().map(Duration::from_secs);
                }
                Some(("append", text)) => needs.append.push(text.to_owned()),
                Some(("panic", text)) => needs.panic = Some(text.to_owned()),
                _ => {}
            }
        }
        needs
    }
}

/// Does this script say that its kernel must die?
pub fn is_fatal(script: &Path) -> bool {
    Needs::read(&vm::read_lossy(script)).panic.is_some()
}

/// The module folders that `scripts` need, or `None` for all of them.
fn folders(scripts: &[&Script]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for script in scripts {
        names.extend(script.modules.clone()?);
    }
    names.sort();
    names.dedup();
    Some(names)
}

/// Build what `scripts` need, and nothing else.
fn build(kernel: &Kernel, scripts: &[&Script]) -> Result<PathBuf> {
    match folders(scripts) {
        None => kbuild::build(kernel, &[]),
        Some(names) if names.is_empty() => Ok(kbuild::modules_dir(kernel)),
        Some(names) => kbuild::build(kernel, &names),
    }
}

/// How many guests run at once. Booting keeps one processor busy, and so does most of a script.
fn guests_at_once(scripts: &[&Script]) -> usize {
    crate::host::jobs().min(2).min(scripts.len()).max(1)
}

impl Guests<'_> {
    /// Run the scripts, some at once; the results come in the order of the scripts.
    fn run_scripts(&self, kernel: &Kernel, modules: &Path) -> Result<Vec<Suite>> {
        let scripts = &self.scripts;
        // Found out once, not by each guest.
        vm::accel(kernel)?;
        let workers = guests_at_once(scripts);
        // A line for each case as it ends, unless those of two scripts would mix.
        let live = workers == 1;
        type Done = Vec<Option<Result<(Suite, String)>>>;
        let done: Mutex<(usize, usize, Done)> =
            Mutex::new((0, 0, scripts.iter().map(|_| None).collect()));
        let lock = || done.lock().unwrap_or_else(PoisonError::into_inner);
        let work = || loop {
            let nr = {
                let mut state = lock();
                let nr = state.0;
                state.0 += 1;
                nr
            };
            let Some(script) = scripts.get(nr) else {
                return;
            };
            let result = self.guest(kernel, modules, script, live);
            let stop = result.is_err();
            let mut state = lock();
            state.2[nr] = Some(result);
            // Tell of everything up to the first that still runs: the order is that of the scripts.
            while let Some(Some(Ok((suite, trouble)))) = state.2.get(state.1) {
                print!("{}{trouble}", report::suite(suite, !live));
                state.1 += 1;
            }
            if stop {
                state.0 = scripts.len();
            }
        };
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
        let (_, _, done) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut suites = Vec::new();
        for result in done.into_iter().flatten() {
            suites.push(result?.0);
        }
        Ok(suites)
    }

    /// Run one script in a guest of its own: its suite, and what to tell of the guest itself.
    fn guest(
        &self,
        kernel: &Kernel,
        modules: &Path,
        script: &Script,
        live: bool,
    ) -> Result<(Suite, String)> {
        let name = format!("{}{}", self.prefix, script.stem);
        let expected = paths::root().join("selftests/expected");
        let mut lines = vec![format!(
            "export KLP_MODULES_DIR={}",
            quote(&modules.to_string_lossy())
        )];
        let mut guest = Guest::new(&format!("test-{}", name.replace(' ', "-")), "");
        // A script may kill the kernel that it runs on, if that is nobody's.
        lines.push("export KLP_GUEST=1".to_owned());
        if self.bless {
            lines.push("export KLP_UPDATE_EXPECTED=1".to_owned());
            guest.writable.push(expected.clone());
        }
        // What selects cases for the script selects them in the guest as well.
        for (variable, value) in std::env::vars() {
            if is_for_scripts(&variable) {
                lines.push(format!("export {variable}={}", quote(&value)));
            }
        }
        lines.push(format!("bash {}", quote(&script.path.to_string_lossy())));
        guest.script = lines.join("\n");
        guest.nics = script.nics;
        guest.cpus = script.cpus;
        guest.memory_mib = script.memory_mib;
        guest.append = script.append.clone();
        let timeout = script
            .timeout
            .unwrap_or_else(|| script_timeout(&paths::root().join("selftests/settings")));
        guest.timeout = timeout + BOOT_MARGIN;

        eprintln!(
            "     {name}: in a guest, logs in {}",
            guest.folder().display()
        );
        let outcome = vm::run(kernel, &guest, |line| {
            if live && (line.starts_with("ok ") || line.starts_with("not ok ")) {
                report::live(&name, line);
            }
        })?;
        let log = outcome.console_text();
        let complaints = oops::complaints(&log);
        let mut cases;
        let mut trouble = String::new();
        let dead = outcome.end == End::Panicked;
        let as_expected = dead
            && script.panic.as_ref().is_some_and(|panic| {
                // The first of them: what comes before is no part of the expected death.
                let mut lines = complaints.iter().take(1).flat_map(|first| &first.lines);
                lines.any(|line| line.contains(panic))
            });
        if as_expected {
            cases = fatal_cases(&outcome.output);
            // The debug kernel dies in words of its own.
            if self.prefix.is_empty() {
                let file = expected.join(format!("{}.log", script.stem));
                cases.push(last_words_case(&file, &log, self.bless)?);
            }
        } else {
            cases = kernel_cases(&outcome.output, &outcome.end);
            let skipped = cases
                .iter()
                .all(|case| matches!(case.verdict, Verdict::Skip(_)));
            let titles = complaints.iter().map(|c| c.title.clone()).collect();
            cases.push(match &script.panic {
                Some(_) if !skipped => Case::failed(DEATH_CASE, titles),
                _ if complaints.is_empty() && !dead => Case::new(LOG_CASE, Verdict::Pass),
                _ => Case::failed(LOG_CASE, titles),
            });
            trouble = report::guest_trouble(kernel, modules, &outcome);
        }
        let failed = cases.iter().any(|case| case.verdict == Verdict::Fail);
        if failed && matches!(outcome.end, End::Exited(_)) {
            trouble.push_str(&report::log_tail(&outcome));
        }
        let mut suite = Suite::new(&name, outcome.elapsed, cases, outcome.console.clone());
        suite.kernel = true;
        suite.failure = outcome.failure().filter(|_| !as_expected);
        Ok((suite, trouble))
    }
}

/// Does this variable of the environment choose what a script does? The folder of the modules is not the user's choice.
fn is_for_scripts(variable: &str) -> bool {
    variable == FULL
        || (variable.starts_with("KLP_")
            && !["KLP_MODULES_DIR", "KLP_UPDATE_EXPECTED", "KLP_GUEST"].contains(&variable))
}

/// `timeout=` of kselftest's settings file, else our own.
fn script_timeout(settings: &Path) -> Duration {
    fs::File::open(settings)
        .ok()
        .and_then(|file| {
            std::io::BufReader::new(file)
                .lines()
                .map_while(std::result::Result::ok)
                .find_map(|line| line.strip_prefix("timeout=")?.trim().parse().ok())
        })
        // Zero is kselftest's word for none; a guest always has one.
        .filter(|&seconds| seconds > 0)
        .map_or(TIMEOUT, Duration::from_secs)
}

/// The cases as a script reported them.
fn reported(cases: Vec<ktap::Case>) -> Vec<Case> {
    cases
        .into_iter()
        .map(|case| Case {
            name: case.name,
            verdict: case.verdict,
            said: case.said,
        })
        .collect()
}

/// The cases that a script reported, and what its end says of them.
fn kernel_cases(output: &str, end: &End) -> Vec<Case> {
    let report = ktap::parse(output);
    if *end == End::Exited(ktap::SKIP_STATUS) && report.cases.is_empty() {
        let why = report.skipped.unwrap_or_else(|| {
            report
                .rest
                .last()
                .map_or_else(|| "no reason given".to_owned(), Clone::clone)
        });
        return vec![Case::new("all of it", Verdict::Skip(why))];
    }
    if let Some(why) = &report.skipped {
        if *end == End::Exited(0) && report.cases.is_empty() {
            return vec![Case::new("all of it", Verdict::Skip(why.clone()))];
        }
    }
    let mut cases = reported(report.cases);
    let mut wrong = report.problems;
    match end {
        End::Exited(0) => {
            if cases.iter().any(|case| case.verdict == Verdict::Fail) {
                wrong.push("exit status 0 in spite of failed cases".to_owned());
            }
        }
        End::Exited(status) => {
            let explained = cases.iter().any(|case| case.verdict == Verdict::Fail)
                || (*status == ktap::SKIP_STATUS
                    // Not all of them: the library's own last case passes also when each before was skipped.
                    && cases
                        .iter()
                        .any(|case| matches!(case.verdict, Verdict::Skip(_))));
            if !explained {
                wrong.push(format!("exit status {status}"));
            }
        }
        End::Panicked => wrong.push("the kernel panicked".to_owned()),
        End::TimedOut => wrong.push("stopped at the time-out".to_owned()),
        End::Broken(why) => wrong.push(why.clone()),
    }
    if !wrong.is_empty() {
        let mut said: Vec<String> = wrong;
        said.extend(report.rest.iter().rev().take(20).rev().cloned());
        cases.push(Case::failed("the script comes to its end", said));
    }
    cases
}

/// The cases of a script whose kernel died as it was meant to: those that it reported before, and that one.
fn fatal_cases(output: &str) -> Vec<Case> {
    let mut cases = reported(ktap::parse(output).cases);
    cases.push(Case::new(DEATH_CASE, Verdict::Pass));
    cases
}

/// Compares the story of a guest that died with its transcript, as `check_transcript` does for one that lives.
fn last_words_case(file: &Path, log: &str, bless: bool) -> Result<Case> {
    const NAME: &str = "it dies as in the transcript";
    let seen = oops::last_words(log);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if bless {
        fs::write(file, seen).with_context(|| format!("writing {}", file.display()))?;
        let why = format!("{name} written, not compared");
        return Ok(Case::new(NAME, Verdict::Skip(why)));
    }
    let expected = vm::read_lossy(file);
    if oops::same_last_words(&seen, &expected) {
        return Ok(Case::new(NAME, Verdict::Pass));
    }
    let diff = similar::TextDiff::from_lines(&expected, &seen);
    let diff = diff.unified_diff().header(&name, "seen").to_string();
    Ok(Case::failed(
        NAME,
        diff.lines().map(str::to_owned).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_names() -> Vec<String> {
        ["fmt", "sysctl-update", "sysctl-update-more", "rules"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn a_pattern_chooses_by_name() {
        let names = some_names();
        assert_eq!(choose(&names, None).unwrap().len(), 4);
        assert_eq!(choose(&names, Some("rul")).unwrap(), ["rules"]);
        assert_eq!(
            choose(&names, Some("sysctl")).unwrap(),
            ["sysctl-update", "sysctl-update-more"]
        );
        // A whole name, in any of its spellings, means only itself.
        for name in ["sysctl-update", "sysctl_update", "test-sysctl-update.sh"] {
            assert_eq!(choose(&names, Some(name)).unwrap(), ["sysctl-update"]);
        }
        let error = choose(&names, Some("nothing")).unwrap_err();
        assert_eq!(error::code(&error), 2);
        assert!(error.to_string().contains("rules"), "{error}");
    }

    fn script(stem: &str) -> Script {
        Script {
            stem: stem.to_owned(),
            path: PathBuf::new(),
            modules: None,
            nics: 0,
            cpus: 2,
            memory_mib: 1024,
            timeout: None,
            append: Vec::new(),
            panic: None,
        }
    }

    #[test]
    fn the_debug_kernel_has_suites_of_its_own() {
        let scripts = ["rules", "x"].map(script);
        let usual = names(&scripts, DebugSuites::None, false);
        assert!(usual.contains(&"rules".to_owned()));
        assert!(
            !usual.iter().any(|name| name.starts_with(DEBUG)),
            "{usual:?}"
        );
        let some = names(&scripts, DebugSuites::Some, false);
        assert!(some.contains(&"debug rules".to_owned()));
        assert!(!some.contains(&"debug x".to_owned()), "{some:?}");
        let all = names(&scripts, DebugSuites::All, true);
        assert_eq!(all, ["debug rules", "debug x", "debug upstream"]);
        // By what is typed: the usual one; the debug one by its name, or because there is no other.
        assert_eq!(choose(&some, Some("rule")).unwrap(), ["rules"]);
        assert_eq!(choose(&some, Some("debug rules")).unwrap(), ["debug rules"]);
        assert_eq!(choose(&some, Some("debug")).unwrap(), ["debug rules"]);
        assert_eq!(choose(&all, Some("x")).unwrap(), ["debug x"]);
        assert_eq!(choose(&all, Some("rules")).unwrap(), ["debug rules"]);
        assert_eq!(choose(&all, Some("u")).unwrap().len(), 3);
    }

    #[test]
    fn the_scripts_get_their_variables_and_no_others() {
        for name in ["KLP_CASES", "KLP_SEED", "CI_FULL"] {
            assert!(is_for_scripts(name), "{name}");
        }
        for name in ["KLP_MODULES_DIR", "KLP_UPDATE_EXPECTED", "HOME", "CI"] {
            assert!(!is_for_scripts(name), "{name}");
        }
    }

    #[test]
    fn needs_are_read_from_the_top_only() {
        let needs = Needs::read(
            "#!/bin/bash\n# SPDX\n#\n# xtask: modules=a,b nics=2 append=x=y nonsense\n\
             # xtask: cpus=zwei\n\nset -u\n# xtask: nics=7\n",
        );
        assert_eq!(needs.modules, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(needs.nics, Some(2));
        assert_eq!(needs.cpus, None);
        assert_eq!(needs.append, ["x=y"]);
        let needs = Needs::read("# xtask: timeout=90\n");
        assert_eq!(needs.timeout, Some(Duration::from_secs(90)));
        assert_eq!(Needs::read("# xtask: modules=none\n").modules, Some(vec![]));
        assert_eq!(
            Needs::read("# xtask: panic=Oops:\n").panic.as_deref(),
            Some("Oops:")
        );
        assert_eq!(Needs::read("# xtask: nics=1\n").modules, None);
    }

    #[test]
    fn libtest_output_becomes_cases() {
        let lines: Vec<String> = "running 3 tests\ntest a::b ... ok\ntest c ... FAILED\n\
             test d ... ignored, slow\n\nfailures:\n\n---- c stdout ----\nboom at x.rs:1\n\nfailures:\n    c\n"
            .lines()
            .map(str::to_owned)
            .collect();
        let cases = libtest_cases(&lines, false);
        assert_eq!(cases.len(), 3);
        assert_eq!(cases[0].verdict, Verdict::Pass);
        assert_eq!(cases[1].verdict, Verdict::Fail);
        assert!(cases[1].said.contains(&"boom at x.rs:1".to_owned()));
        assert_eq!(cases[2].verdict, Verdict::Skip("slow".to_owned()));
        let broken = libtest_cases(&["error: could not compile".to_owned()], false);
        assert_eq!(broken[0].verdict, Verdict::Fail);
        assert_eq!(libtest_cases(&[], true)[0].verdict, Verdict::Fail);
    }

    fn verdicts(output: &str, end: End) -> Vec<(String, Verdict)> {
        kernel_cases(output, &end)
            .into_iter()
            .map(|case| (case.name, case.verdict))
            .collect()
    }

    #[test]
    fn how_a_guest_ends_is_a_result() {
        let good = "KTAP version 1\n1..1\nok 1 a\n";
        assert_eq!(verdicts(good, End::Exited(0)).len(), 1);
        for end in [
            End::Exited(1),
            End::Panicked,
            End::TimedOut,
            End::Broken("x".to_owned()),
        ] {
            let cases = verdicts(good, end.clone());
            assert_eq!(cases.len(), 2, "{end:?}");
            assert_eq!(cases[1].1, Verdict::Fail, "{end:?}");
        }
        let bad = "KTAP version 1\n1..1\nnot ok 1 a\n";
        assert_eq!(verdicts(bad, End::Exited(1)).len(), 1);
        assert_eq!(verdicts(bad, End::Exited(0)).len(), 2);
        assert_eq!(verdicts("", End::Exited(0))[0].1, Verdict::Fail);
    }

    #[test]
    fn a_death_that_is_meant_is_no_failure_but_what_failed_before_is() {
        let cases = fatal_cases("KTAP version 1\n1..3\nok 1 a\nnot ok 2 b\n");
        let verdicts: Vec<_> = cases.iter().map(|case| &case.verdict).collect();
        assert_eq!(verdicts, [&Verdict::Pass, &Verdict::Fail, &Verdict::Pass]);
        assert_eq!(cases[2].name, DEATH_CASE);
    }

    #[test]
    fn last_words_are_compared_and_blessed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.log");
        let log = "[    1.0] % insmod x.ko\n[    1.1] Oops: int3: 0000 [#1] SMP\n";
        let verdict = |bless| last_words_case(&file, log, bless).unwrap().verdict;
        assert_eq!(verdict(false), Verdict::Fail);
        assert!(matches!(verdict(true), Verdict::Skip(_)));
        assert_eq!(verdict(false), Verdict::Pass);
    }

    #[test]
    fn a_skip_keeps_its_reason() {
        let skip = Verdict::Skip("no veth".to_owned());
        let plan = "KTAP version 1\n1..0 # SKIP no veth\n";
        assert_eq!(verdicts(plan, End::Exited(4))[0].1, skip);
        assert_eq!(verdicts(plan, End::Exited(0))[0].1, skip);
        let word = "skipped: no veth\n";
        assert!(matches!(
            &verdicts(word, End::Exited(4))[0].1,
            Verdict::Skip(_)
        ));
        let all = "KTAP version 1\n1..1\nok 1 a # SKIP no veth\n";
        assert_eq!(
            verdicts(all, End::Exited(4)),
            [("a".to_owned(), skip.clone())]
        );
        let last = "KTAP version 1\n1..2\nok 1 a # SKIP no veth\nok 2 nothing is left behind\n";
        assert_eq!(verdicts(last, End::Exited(4)).len(), 2);
    }

    #[test]
    fn kselftest_settings_give_the_time_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settings");
        fs::write(&file, "# x\ntimeout=90\n").unwrap();
        assert_eq!(script_timeout(&file), Duration::from_secs(90));
        fs::write(&file, "timeout=0\n").unwrap();
        assert_eq!(script_timeout(&file), TIMEOUT);
        assert_eq!(script_timeout(&dir.path().join("none")), TIMEOUT);
    }
}

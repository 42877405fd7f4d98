// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel's own livepatch selftests, as they stand in its source tree, on modules in C and in Rust.
//!
//! Nothing of them is kept here: a scratch folder below `target/` holds links to the scripts, the helper
//! program compiled from its source, and `test_modules`, which is a link to the modules of one side:
//! those of the kernel, built in a copy, or ours of the same names. Scripts share a guest as long as it
//! lives; when it ends in the midst of one, the next script gets a new guest.

mod lines;
mod reader;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::catalog;
use crate::cli::KernelArgs;
use crate::error;
use crate::error::Failure;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::ktap::Verdict;
use crate::lock::lock;
use crate::oops;
use crate::paths;
use crate::process;
use crate::process::quote;
use crate::report;
use crate::results::Case;
use crate::results::Suite;
use crate::vm;
use crate::vm::End;
use crate::vm::Guest;
use reader::Reader;

/// Where the tests are in a kernel tree.
const TESTS: &str = "tools/testing/selftests/livepatch";

/// The program that one script runs.
const HELPER: &str = "test_klp-call_getpid";

/// What a script may take; under load it takes minutes.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(900);

/// What booting may take.
const BOOT_TIMEOUT: Duration = Duration::from_secs(180);

/// Which modules the scripts load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The kernel's own, in C.
    C,
    /// Ours, on `klp`.
    Rust,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Side::C => "c",
            Side::Rust => "rust",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Side::C => "C",
            Side::Rust => "Rust",
        }
    }
}

/// What the user asked for.
pub struct Options<'a> {
    /// Only this script.
    pub script: Option<&'a str>,
    pub c: bool,
    pub rust: bool,
    /// Run the script so many times.
    pub repeat: Option<usize>,
    /// Count lines and run nothing.
    pub lines: bool,
}

/// A script and the tests that it announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// `test-callbacks`
    pub name: String,
    pub tests: Vec<String>,
}

/// One test of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    pub name: String,
    pub verdict: Verdict,
    /// What was printed when it failed.
    pub said: Vec<String>,
    pub elapsed: Duration,
}

/// One run of one script.
#[derive(Clone, Debug)]
pub struct ScriptRun {
    pub script: String,
    pub tests: Vec<Test>,
    pub elapsed: Duration,
    /// The kernel's log of its guest.
    pub log: PathBuf,
    /// The guest ended during this script.
    pub failure: Option<Failure>,
}

impl ScriptRun {
    fn passed(&self) -> bool {
        self.failure.is_none() && self.tests.iter().all(|test| test.verdict == Verdict::Pass)
    }
}

/// `cargo xtask upstream`.
pub fn run(args: &KernelArgs, options: &Options<'_>) -> Result<()> {
    let kernel = Kernel::ensure(args)?;
    let all = scripts(&tests_folder(&kernel)?)?;
    let chosen = choose(&all, options.script)?;
    if options.lines {
        return lines::print(&kernel.source.join(TESTS).join("test_modules"));
    }
    let sides: Vec<Side> = [(Side::C, options.c), (Side::Rust, options.rust)]
        .into_iter()
        .filter(|(_, wanted)| *wanted || options.c == options.rust)
        .map(|(side, _)| side)
        .collect();
    // What can be wrong on this host is found before the first guest boots.
    let folders = sides
        .iter()
        .map(|side| prepare(&kernel, *side))
        .collect::<Result<Vec<_>>>()?;
    let mut ran = Vec::new();
    for (side, folder) in sides.into_iter().zip(folders) {
        ran.push((
            side,
            run_repeatedly(&kernel, side, &folder, &chosen, options.repeat)?,
        ));
    }
    if options.repeat.is_some() {
        print!("{}", figures(&ran));
    } else {
        print!("{}", table(&chosen, &ran));
        if options.script.is_none() {
            println!();
            lines::print(&kernel.source.join(TESTS).join("test_modules"))?;
        }
    }
    let runs = || ran.iter().flat_map(|(_, runs)| runs);
    match runs().find_map(|run| run.failure.clone()) {
        Some(failure) => bail!(failure),
        None if runs().all(ScriptRun::passed) => Ok(()),
        None => bail!(Failure::TestFailed),
    }
}

/// The kernel's tests on the Rust modules, one suite for each script, for `cargo xtask test`.
///
/// The modules must have been built ([`kbuild::build`]); `tell` gets each test as it ends.
pub fn run_cases(kernel: &Kernel, mut tell: impl FnMut(&str)) -> Result<Vec<Suite>> {
    let scripts = scripts(&tests_folder(kernel)?)?;
    let folder = prepare(kernel, Side::Rust)?;
    let runs = run_scripts(kernel, Side::Rust, &folder, &scripts, &mut tell)?;
    Ok(runs.into_iter().map(|run| suite(run, kernel)).collect())
}

fn suite(run: ScriptRun, kernel: &Kernel) -> Suite {
    let cases = run
        .tests
        .into_iter()
        .map(|test| Case {
            name: test.name,
            verdict: test.verdict,
            said: test.said,
        })
        .collect();
    let name = format!("upstream {}", run.script);
    let mut suite = Suite::new(&name, run.elapsed, cases, run.log);
    suite.kernel = Some(kernel.release.clone());
    suite.failure = run.failure;
    suite
}

// ---- what there is to run ---------------------------------------------------

fn tests_folder(kernel: &Kernel) -> Result<PathBuf> {
    let folder = kernel.source.join(TESTS);
    if folder.join("functions.sh").is_file() {
        return Ok(folder);
    }
    Err(error::host(format!(
        "{} is not a whole kernel tree: {TESTS} is missing; leave out --kernel, or name a tree with it",
        kernel.source.display()
    )))
}

/// The scripts in the order in which the kernel's Makefile runs them, then any that it does not name.
fn scripts(folder: &Path) -> Result<Vec<Script>> {
    let order = vm::read_lossy(&folder.join("Makefile"));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry.context("reading the kernel's tests")?.path();
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(name) = file
            .strip_suffix(".sh")
            .filter(|name| name.starts_with("test-"))
        else {
            continue;
        };
        found.push(Script {
            name: name.to_owned(),
            tests: announced(&vm::read_lossy(&path)),
        });
    }
    found.sort_by_key(|script| {
        let at = order
            .find(&format!("{}.sh", script.name))
            .unwrap_or(usize::MAX);
        (at, script.name.clone())
    });
    Ok(found)
}

/// The names of the tests in a script.
fn announced(script: &str) -> Vec<String> {
    script
        .lines()
        .filter_map(|line| {
            let rest = line.trim_start().strip_prefix("start_test ")?;
            Some(rest.trim().trim_matches('"').to_owned())
        })
        .collect()
}

/// The scripts that `pattern` names; all without one.
fn choose(all: &[Script], pattern: Option<&str>) -> Result<Vec<Script>> {
    let Some(pattern) = pattern else {
        return Ok(all.to_vec());
    };
    let wanted = pattern.trim_end_matches(".sh").trim_start_matches("test-");
    let chosen: Vec<Script> = all
        .iter()
        .filter(|script| script.name.trim_start_matches("test-") == wanted)
        .cloned()
        .collect();
    if chosen.is_empty() {
        let names: Vec<String> = all.iter().map(|script| script.name.clone()).collect();
        return Err(catalog::unknown("script of the kernel", pattern, &names));
    }
    Ok(chosen)
}

// ---- the scratch folder -----------------------------------------------------

/// Build the modules of `side`, and make the folder that the scripts run in.
fn prepare(kernel: &Kernel, side: Side) -> Result<PathBuf> {
    let source = tests_folder(kernel)?;
    let root = paths::target().join("upstream").join(&kernel.key);
    let folder = root.join(side.word());
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let _lock = lock(&root.join("lock"), "prepares the kernel's tests")?;
    let modules = match side {
        Side::C => build_c(
            kernel,
            &source.join("test_modules"),
            &root.join("c-modules"),
        )?,
        Side::Rust => kbuild::build(kernel, &["selftests".to_owned()])?,
    };
    for entry in fs::read_dir(&source).with_context(|| format!("reading {}", source.display()))? {
        let path = entry.context("reading the kernel's tests")?.path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            if let Some(name) = path.file_name() {
                link(&path, &folder.join(name))?;
            }
        }
    }
    link(&modules, &folder.join("test_modules"))?;
    let mut command = Command::new("cc");
    command
        .args(["-O2", "-o"])
        .arg(folder.join(HELPER))
        .arg(source.join(format!("{HELPER}.c")));
    process::capture(&mut command).context("compiling the helper of the kernel's tests")?;
    Ok(folder)
}

/// The kernel's own test modules, built in a copy, so that its source tree stays as it is.
fn build_c(kernel: &Kernel, source: &Path, out: &Path) -> Result<PathBuf> {
    fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    for entry in fs::read_dir(source).with_context(|| format!("reading {}", source.display()))? {
        let from = entry.context("reading the kernel's test modules")?.path();
        let Some(name) = from.file_name().filter(|_| from.is_file()) else {
            continue;
        };
        let to = out.join(name);
        let text = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
        if fs::read(&to).is_ok_and(|old| old == text) {
            continue;
        }
        fs::write(&to, text).with_context(|| format!("writing {}", to.display()))?;
    }
    let log = out.with_extension("log");
    let mut set = std::ffi::OsString::from("M=");
    set.push(out);
    let mut command = kernel.make();
    command.arg("--no-print-directory").arg(set).arg("modules");
    let status = process::logged(&mut command, &log, None, |_| {})?;
    if !status.success() {
        return Err(error::host(format!(
            "building the kernel's own test modules failed; log: {}",
            log.display()
        )));
    }
    Ok(out.to_path_buf())
}

/// Make `to` a link to `from`, whatever it was.
fn link(from: &Path, to: &Path) -> Result<()> {
    if fs::read_link(to).is_ok_and(|old| old == from) {
        return Ok(());
    }
    let _ = fs::remove_file(to);
    symlink(from, to).with_context(|| format!("linking {}", to.display()))
}

// ---- guests -----------------------------------------------------------------

fn run_repeatedly(
    kernel: &Kernel,
    side: Side,
    folder: &Path,
    scripts: &[Script],
    repeat: Option<usize>,
) -> Result<Vec<ScriptRun>> {
    let jobs: Vec<Script> = scripts
        .iter()
        .flat_map(|script| std::iter::repeat_n(script.clone(), repeat.unwrap_or(1)))
        .collect();
    run_scripts(kernel, side, folder, &jobs, &mut |line| {
        report::live(side.title(), line)
    })
}

/// Run `jobs` one after the other. A guest that ends does not take the rest with it.
fn run_scripts(
    kernel: &Kernel,
    side: Side,
    folder: &Path,
    jobs: &[Script],
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<ScriptRun>> {
    let mut runs: Vec<ScriptRun> = Vec::new();
    for number in 1.. {
        let rest = &jobs[runs.len()..];
        if rest.is_empty() {
            break;
        }
        let name = match number {
            1 => format!("upstream-{}", side.word()),
            _ => format!("upstream-{}-{number}", side.word()),
        };
        let count = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let mut guest = Guest::new(&name, guest_script(kernel, folder, rest));
        guest.timeout = BOOT_TIMEOUT + SCRIPT_TIMEOUT * count;
        let mut reader = Reader::new(rest);
        let outcome = vm::run(kernel, &guest, |line| {
            if let Some(said) = reader.line(line, Instant::now()) {
                tell(&said);
            }
        })?;
        let mut done = reader.finish(&ending(&outcome.end), Instant::now());
        let complaints = oops::complaints(&outcome.console_text());
        if let Some(last) = done.last_mut() {
            last.failure = outcome.failure();
            if outcome.end == End::Exited(0) && !complaints.is_empty() {
                // The tests passed, and yet something is wrong.
                last.tests.push(Test {
                    name: "the kernel does not complain".to_owned(),
                    verdict: Verdict::Fail,
                    said: complaints.into_iter().flat_map(|c| c.lines).collect(),
                    elapsed: Duration::ZERO,
                });
            }
        }
        for run in &mut done {
            run.log.clone_from(&outcome.console);
        }
        if outcome.failure().is_some() {
            eprint!("{}", report::guest_trouble(kernel, folder, &outcome));
            keep(&outcome.console, number);
        }
        runs.extend(done);
    }
    Ok(runs)
}

/// The next run writes to the same file; what a guest died of is worth keeping.
fn keep(console: &Path, number: usize) {
    let _ = fs::copy(
        console,
        console.with_extension(format!("died-{number}.log")),
    );
}

fn ending(end: &End) -> String {
    match end {
        End::Exited(status) => format!("the guest's shell ended with {status}"),
        End::Panicked => "the guest's kernel panicked".to_owned(),
        End::TimedOut => "the guest was stopped at its time-out".to_owned(),
        End::Broken(what) => format!("the guest did not run: {what}"),
    }
}

fn guest_script(kernel: &Kernel, folder: &Path, jobs: &[Script]) -> String {
    let mut text = format!(
        "mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug\n\
         cd {} || exit 1\n\
         export KDIR={}\n",
        quote(&folder.to_string_lossy()),
        quote(&kernel.build.to_string_lossy())
    );
    for job in jobs {
        let name = &job.name;
        text += &format!(
            "echo '{begin}{name}'\n\
             timeout {seconds} ./{name}.sh\n\
             echo '{end}'$?\n",
            begin = reader::BEGIN,
            end = reader::END,
            seconds = SCRIPT_TIMEOUT.as_secs()
        );
    }
    text + "exit 0\n"
}

// ---- what is told -----------------------------------------------------------

/// Each test, on each side.
fn table(scripts: &[Script], ran: &[(Side, Vec<ScriptRun>)]) -> String {
    let mut rows = vec![vec!["script".to_owned(), "test".to_owned()]];
    for (side, _) in ran {
        rows[0].push(format!("{} modules", side.title()));
        rows[0].push("s".to_owned());
    }
    let mut why = String::new();
    for script in scripts {
        let of_script =
            |runs: &[ScriptRun]| runs.iter().find(|run| run.script == script.name).cloned();
        let runs: Vec<Option<ScriptRun>> = ran.iter().map(|(_, runs)| of_script(runs)).collect();
        let tests = runs
            .iter()
            .flatten()
            .map(|run| run.tests.len())
            .max()
            .unwrap_or(0);
        for number in 0..tests {
            let test = |run: &Option<ScriptRun>| run.as_ref()?.tests.get(number).cloned();
            let name = runs
                .iter()
                .find_map(test)
                .map_or(String::new(), |test| test.name);
            let mut row = vec![script.name.clone(), name];
            for (run, (side, _)) in runs.iter().zip(ran) {
                match test(run) {
                    Some(test) => {
                        row.push(word(&test.verdict).to_owned());
                        row.push(format!("{:.1}", test.elapsed.as_secs_f64()));
                        why += &reason(*side, script, &test);
                    }
                    None => row.extend(["-".to_owned(), "-".to_owned()]),
                }
            }
            rows.push(row);
        }
    }
    let mut text = columns(&rows);
    for (side, runs) in ran {
        let tests = || runs.iter().flat_map(|run| &run.tests);
        let passed = tests().filter(|test| test.verdict == Verdict::Pass).count();
        let seconds: f64 = runs.iter().map(|run| run.elapsed.as_secs_f64()).sum();
        text += &format!(
            "{} modules: {passed} of {} tests pass, {seconds:.0} s\n",
            side.title(),
            tests().count()
        );
    }
    text + &why
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "ok",
        Verdict::Fail => "FAILED",
        Verdict::Skip(_) => "skipped",
    }
}

fn reason(side: Side, script: &Script, test: &Test) -> String {
    let lines = match &test.verdict {
        Verdict::Pass => return String::new(),
        Verdict::Fail => test.said.join("\n    "),
        Verdict::Skip(why) => why.clone(),
    };
    format!(
        "{} {}, {}:\n    {lines}\n",
        side.title(),
        script.name,
        test.name
    )
}

/// How often each side passed, failed and took its guest with it.
fn figures(ran: &[(Side, Vec<ScriptRun>)]) -> String {
    let heads = [
        "script",
        "modules",
        "runs",
        "passed",
        "failed",
        "guest ended",
        "shortest",
        "median",
        "longest",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for (side, runs) in ran {
        let Some(first) = runs.first() else { continue };
        let passed = runs.iter().filter(|run| run.passed()).count();
        let ended = runs.iter().filter(|run| run.failure.is_some()).count();
        let mut times: Vec<f64> = runs
            .iter()
            .filter(|run| run.passed())
            .map(|run| run.elapsed.as_secs_f64())
            .collect();
        times.sort_by(f64::total_cmp);
        let at = |time: Option<&f64>| time.map_or("-".to_owned(), |time| format!("{time:.1} s"));
        rows.push(vec![
            first.script.clone(),
            side.title().to_owned(),
            runs.len().to_string(),
            passed.to_string(),
            (runs.len() - passed - ended).to_string(),
            ended.to_string(),
            at(times.first()),
            at(times.get(times.len() / 2)),
            at(times.last()),
        ]);
    }
    columns(&rows)
}

/// Left-aligned columns, two blanks apart; the first row is the head.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter()
            .filter_map(|row| row.get(at))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
        if number == 0 {
            text += &"-".repeat(widths.iter().sum::<usize>() + 2 * (count.saturating_sub(1)));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str, tests: &[&str]) -> Script {
        Script {
            name: name.to_owned(),
            tests: tests.iter().map(|test| (*test).to_owned()).collect(),
        }
    }

    fn test(name: &str, verdict: Verdict) -> Test {
        Test {
            name: name.to_owned(),
            verdict,
            said: vec!["-old".to_owned()],
            elapsed: Duration::from_millis(1500),
        }
    }

    fn run_of(script: &str, tests: Vec<Test>) -> ScriptRun {
        ScriptRun {
            script: script.to_owned(),
            tests,
            elapsed: Duration::from_secs(3),
            log: PathBuf::from("/l"),
            failure: None,
        }
    }

    #[test]
    fn a_script_announces_its_tests() {
        let text =
            "start_test \"one\"\nif x; then\n\tstart_test \"two (a)\"\nfi\n# start_test \"no\"\n";
        assert_eq!(announced(text), ["one", "two (a)"]);
    }

    #[test]
    fn a_script_is_chosen_by_name() {
        let all = [script("test-state", &[]), script("test-sysfs", &[])];
        for name in ["sysfs", "test-sysfs", "test-sysfs.sh"] {
            assert_eq!(choose(&all, Some(name)).unwrap(), all[1..]);
        }
        assert_eq!(error::code(&choose(&all, Some("sys")).unwrap_err()), 2);
        assert_eq!(choose(&all, None).unwrap().len(), 2);
    }

    #[test]
    fn the_table_names_what_failed() {
        let scripts = [script("test-x", &["a", "b"])];
        let ran = [
            (
                Side::C,
                vec![run_of(
                    "test-x",
                    vec![test("a", Verdict::Pass), test("b", Verdict::Pass)],
                )],
            ),
            (
                Side::Rust,
                vec![run_of(
                    "test-x",
                    vec![test("a", Verdict::Pass), test("b", Verdict::Fail)],
                )],
            ),
        ];
        let text = table(&scripts, &ran);
        assert!(
            text.contains("test-x  b     ok         1.5  FAILED        1.5\n"),
            "{text}"
        );
        assert!(text.contains("C modules: 2 of 2 tests pass"), "{text}");
        assert!(text.contains("Rust modules: 1 of 2 tests pass"), "{text}");
        assert!(text.ends_with("Rust test-x, b:\n    -old\n"), "{text}");
    }

    #[test]
    fn figures_count_ends_of_guests_apart() {
        let mut dead = run_of("test-x", vec![test("a", Verdict::Fail)]);
        dead.failure = Some(Failure::GuestPanic);
        let good = run_of("test-x", vec![test("a", Verdict::Pass)]);
        let bad = run_of("test-x", vec![test("a", Verdict::Fail)]);
        let text = figures(&[(Side::C, vec![good.clone(), good, bad, dead])]);
        let row: Vec<&str> = text.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(row[..6], ["test-x", "C", "4", "2", "1", "1"]);
    }

    #[test]
    fn a_link_replaces_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("x");
        fs::write(&to, "").unwrap();
        link(Path::new("/a"), &to).unwrap();
        link(Path::new("/b"), &to).unwrap();
        assert_eq!(fs::read_link(&to).unwrap(), Path::new("/b"));
    }
}

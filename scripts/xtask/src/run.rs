// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask run` and `demo`: a sample on the real kernel, and what happened when.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use console::style;
use regex::Regex;

use crate::catalog;
use crate::catalog::Livepatch;
use crate::catalog::Sample;
use crate::cli::KernelArgs;
use crate::error::Failure;
use crate::host;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::ktap::Case;
use crate::ktap::Verdict;
use crate::parts;
use crate::paths;
use crate::process;
use crate::process::quote;
use crate::queue;
use crate::queue::Job;
use crate::report;
use crate::test;
use crate::timeline;
use crate::timeline::Phase;
use crate::timeline::Story;
use crate::vm;
use crate::vm::read_lossy;
use crate::vm::Guest;

/// A sample's story is told in seconds; this only ends a hang.
const TIMEOUT: Duration = Duration::from_secs(600);

/// `cargo xtask run NAME [PARAM…]`.
pub fn run(args: &KernelArgs, name: &str, params: &[String]) -> Result<()> {
    let sample = catalog::sample(name)?;
    let kernel = Kernel::ensure(args)?;
    let modules = kbuild::build(&kernel, std::slice::from_ref(&sample.stem))?;
    let params = if params.is_empty() {
        &sample.livepatch.params
    } else {
        params
    };
    let mut text = String::new();
    let story = tell(&mut text, &kernel, &modules, &sample, params);
    print!("{text}");
    let story = story?;
    // With other parameters there may be another effect.
    if *params == sample.livepatch.params {
        println!("{}", effect(&sample.livepatch, &story)?);
    }
    Ok(())
}

/// `cargo xtask demo`: every sample, each in a guest of its own, told in their order.
///
/// One guest keeps one processor busy; while it runs the next one's module is built.
pub fn demo(args: &KernelArgs) -> Result<()> {
    let samples = catalog::samples()?;
    parts::built();
    let kernel = Kernel::ensure(args)?;
    let building = Mutex::new(());
    let told: Mutex<(usize, BTreeMap<usize, Told>)> = Mutex::default();
    let work = &|nr: usize, sample: &Sample| {
        let mut text = String::new();
        // Kbuild keeps every processor busy by itself.
        let one_at_a_time = building.lock();
        let modules = kbuild::build(&kernel, std::slice::from_ref(&sample.stem));
        drop(one_at_a_time);
        let seen = modules.and_then(|modules| story(&mut text, &kernel, &modules, sample));
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let (printed, told) = &mut *told;
        told.insert(nr, Told { text, seen });
        while let Some(one) = told.get(printed) {
            if *printed == 0 {
                parts::mark("the first timeline");
            }
            println!("{}", one.text);
            if let Err(error) = &one.seen {
                eprintln!("xtask: {}: {error:#}\n", samples[*printed].stem);
            }
            *printed += 1;
        }
        process::check_interrupted()
    };
    let jobs: Vec<Job<'_>> = samples
        .iter()
        .enumerate()
        .map(|(nr, sample)| Job::new(move || work(nr, sample)))
        .collect();
    queue::run(&jobs, host::jobs())?;
    drop(jobs);
    let (_, told) = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    print!("{}", summary(&kernel.release, &samples, &told));
    parts::mark("the last timeline");
    print!("{}", parts::told());
    told.into_values()
        .find_map(|one| one.seen.err())
        .map_or(Ok(()), Err)
}

/// Each sample's story as a case: it is told, and ends in the sentence that says what changed.
pub fn stories(args: &KernelArgs) -> Result<Vec<Case>> {
    let kernel = Kernel::ensure(args)?;
    let mut cases = Vec::new();
    for sample in catalog::samples()? {
        let modules = kbuild::build(&kernel, std::slice::from_ref(&sample.stem))?;
        let mut text = String::new();
        let complaints = match story(&mut text, &kernel, &modules, &sample) {
            Ok(_) => Vec::new(),
            Err(error) => text
                .lines()
                .map(str::to_owned)
                .chain([format!("{error:#}")])
                .collect(),
        };
        process::check_interrupted()?;
        cases.push(Case::from_complaints(&sample.stem, complaints));
    }
    Ok(cases)
}

/// One sample's story as text, and what of it the summary says.
struct Told {
    text: String,
    seen: Result<(String, Option<f64>)>,
}

/// Run one sample with its own parameters: what changed, and how long the transition took.
fn story(
    text: &mut String,
    kernel: &Kernel,
    modules: &Path,
    sample: &Sample,
) -> Result<(String, Option<f64>)> {
    let story = tell(text, kernel, modules, sample, &sample.livepatch.params)?;
    Ok((effect(&sample.livepatch, &story)?, story.transition()))
}

/// Run one sample, and write its story into `text`.
fn tell(
    text: &mut String,
    kernel: &Kernel,
    modules: &Path,
    sample: &Sample,
    params: &[String],
) -> Result<Story> {
    let title = style(&sample.stem).bold().underlined();
    let about = style(format!("- {}", sample.description)).bold();
    writeln!(text, "{title} {about}")?;
    let mut guest = Guest::new(
        &format!("run-{}", sample.stem),
        script(&paths::root(), modules, sample, params),
    );
    guest.nics = sample.livepatch.nics;
    guest.timeout = TIMEOUT;
    let outcome = vm::run(kernel, &guest, |_| {})?;

    let mut names = vec![sample.livepatch.module.as_str()];
    names.extend(sample.livepatch.targets.iter().map(String::as_str));
    let story = timeline::parse(&outcome.console_text(), &names);
    text.push_str(&story.render(timeline::width()));
    text.push_str(&report::guest_trouble(kernel, modules, &outcome));
    if let Some(failure) = outcome.failure() {
        bail!(failure);
    }
    let cases = test::cases(&outcome.output, &outcome.end);
    if let [Case {
        verdict: Verdict::Skip(why),
        ..
    }] = &cases[..]
    {
        bail!(Failure::Host(format!("this kernel cannot run it: {why}")));
    }
    let failed: Vec<&Case> = cases
        .iter()
        .filter(|case| case.verdict == Verdict::Fail)
        .collect();
    for case in &failed {
        for line in &case.said {
            writeln!(text, "    {line}")?;
        }
        let failed = style(format!("failed: {}", case.name)).red().bold();
        writeln!(text, "    {failed}")?;
    }
    if !failed.is_empty() {
        writeln!(text, "    the whole log: {}", outcome.console.display())?;
        bail!(Failure::TestFailed);
    }
    Ok(story)
}

/// The script that a sample's guest runs, in the words of `selftests/functions.sh`.
fn script(root: &Path, modules: &Path, sample: &Sample, params: &[String]) -> String {
    let livepatch = &sample.livepatch;
    let module = &livepatch.module;
    let mut steps = Vec::new();
    for command in &livepatch.setup {
        steps.push(typed(command));
    }
    let show: Vec<String> = livepatch
        .show
        .iter()
        // A command that fails is an effect, too; its complaint is shown like any output.
        .map(|command| format!("show bash -c {} || true", quote(command)))
        .collect();
    for target in &livepatch.targets {
        // The guest loads the drivers of its own devices by itself.
        steps.push(format!(
            "[ -d /sys/module/{0} ] || load_mod {0}",
            quote(target)
        ));
    }
    if livepatch.steps.is_empty() {
        let params: String = params.iter().map(|p| format!(" {}", quote(p))).collect();
        steps.extend(show.iter().cloned());
        steps.push(format!("load_lp {module}{params}"));
        steps.extend(show.iter().cloned());
        steps.push(format!("disable_lp {module}"));
        steps.extend(show.iter().cloned());
        steps.push(format!("unload_mod {module}"));
    } else {
        steps.push(format!(
            "effect() {{ {}; }}",
            if show.is_empty() {
                ":".to_owned()
            } else {
                show.join("; ")
            }
        ));
        let words = read_lossy(&root.join("selftests/functions.sh"));
        steps.extend(livepatch.steps.iter().map(|step| {
            let word = step.split_whitespace().next().unwrap_or_default();
            if word == "effect" || words.contains(&format!("\n{word}()")) {
                step.clone()
            } else {
                typed(step)
            }
        }));
    }
    for target in livepatch.targets.iter().rev() {
        steps.push(format!("unload_mod {}", quote(target)));
    }
    format!(
        "export KLP_MODULES_DIR={}\n. {}\nexport KLP_DIR\nstory()\n{{\n\t{}\n}}\nktap_plan 1\nktap_case {} story\nktap_finish",
        quote(&modules.to_string_lossy()),
        quote(&root.join("selftests/functions.sh").to_string_lossy()),
        steps.join("\n\t"),
        quote(&sample.stem),
    )
}

/// A command as a user types it, and what it prints.
fn typed(command: &str) -> String {
    format!(
        "log {}; show bash -c {}",
        quote(&format!("% {command}")),
        quote(command)
    )
}

/// What each sample changed for a user, and how long its transition took.
fn summary(release: &str, samples: &[Sample], told: &BTreeMap<usize, Told>) -> String {
    let title = format!("{} samples on Linux {release}", told.len());
    let mut text = format!("{}\n", style(title).bold());
    for (nr, told) in told {
        let (effect, took) = match &told.seen {
            Ok((effect, took)) => (effect.as_str(), *took),
            Err(_) => ("failed", None),
        };
        let took = took.map(Duration::from_secs_f64);
        let took = took.map_or(String::new(), |took| format!(" (transition {took:.1?})"));
        text.push_str(&format!(
            "  {}\n    {effect}{}\n",
            style(&samples[*nr].stem).bold(),
            style(took).dim()
        ));
    }
    text
}

/// The sentence that tells what changed, with what was really seen; an error where it was not.
fn effect(livepatch: &Livepatch, story: &Story) -> Result<String> {
    let pattern = Regex::new(&livepatch.seen).context("the pattern of what is to be seen")?;
    let mut sentence = livepatch.effect.clone();
    for (phase, place) in [
        (Phase::Before, "{before}"),
        (Phase::During, "{during}"),
        (Phase::After, "{after}"),
    ] {
        let mut seen: Vec<&str> = story
            .effects(phase)
            .into_iter()
            .filter_map(|line| Some(pattern.captures(line)?.get(1)?.as_str()))
            .collect();
        seen.dedup();
        if seen.is_empty() == sentence.contains(place) {
            bail!(Failure::Work(format!(
                "`{}` matches {} of what was shown {}: {}",
                livepatch.seen,
                if seen.is_empty() { "nothing" } else { "some" },
                place.trim_matches(['{', '}']),
                story.effects(phase).join("; ")
            )));
        }
        sentence = sentence.replace(place, &seen.join(" and "));
    }
    Ok(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        Sample {
            stem: "fix-it".to_owned(),
            description: "d".to_owned(),
            dir: "/s/fix-it".into(),
            livepatch: Livepatch {
                module: "fix_it".to_owned(),
                targets: vec!["a".to_owned(), "b".to_owned()],
                setup: vec!["sysctl -q x=1".to_owned()],
                show: vec!["sysctl x".to_owned()],
                ..Livepatch::default()
            },
        }
    }

    #[test]
    fn the_script_loads_shows_disables_and_unloads() {
        let text = script(
            Path::new("/r"),
            Path::new("/m"),
            &sample(),
            &["when=pre".to_owned()],
        );
        let steps: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix('\t'))
            .collect();
        assert_eq!(
            steps,
            [
                "log '% sysctl -q x=1'; show bash -c 'sysctl -q x=1'",
                "[ -d /sys/module/a ] || load_mod a",
                "[ -d /sys/module/b ] || load_mod b",
                "show bash -c 'sysctl x' || true",
                "load_lp fix_it 'when=pre'",
                "show bash -c 'sysctl x' || true",
                "disable_lp fix_it",
                "show bash -c 'sysctl x' || true",
                "unload_mod fix_it",
                "unload_mod b",
                "unload_mod a",
            ]
        );
    }

    #[test]
    fn steps_of_its_own_take_the_place_of_the_usual_ones() {
        let mut sample = sample();
        let steps = ["effect", "load_fails EBUSY fix_it", "cat /proc/x"];
        sample.livepatch.steps = steps.map(str::to_owned).to_vec();
        let text = script(&paths::root(), Path::new("/m"), &sample, &[]);
        // A plain command is shown with its output.
        for line in [
            "\teffect() { show bash -c 'sysctl x' || true; }\n",
            "\tload_fails EBUSY fix_it\n\tlog '% cat /proc/x'; show bash -c 'cat /proc/x'\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("load_lp"), "{text}");
    }

    #[test]
    fn the_sentence_tells_what_was_seen_or_nothing() {
        let log = "[ 1.0] # x = 1\n[ 1.1] livepatch: enabling patch 'a'\n[ 1.2] # x = 2\n\
                   [ 1.3] # x = 3\n[ 1.4] livepatch: 'a': unpatching complete\n[ 1.5] # gone\n";
        let story = timeline::parse(log, &["a"]);
        let tell = |seen: &str, sentence: &str| {
            let livepatch = Livepatch {
                seen: seen.to_owned(),
                effect: sentence.to_owned(),
                ..Livepatch::default()
            };
            effect(&livepatch, &story).ok()
        };
        assert_eq!(
            tell(r"x = (\d)", "{before}, then {during}").unwrap(),
            "1, then 2 and 3"
        );
        assert_eq!(tell(r"x = (\d)", "{before}, {during}, {after}"), None);
        assert_eq!(tell(r"x = (\d)", "{during}"), None);
        assert_eq!(tell("(gone)", "{after}").unwrap(), "gone");
    }
}

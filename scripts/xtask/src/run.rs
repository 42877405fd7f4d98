// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask run` and `demo`: a sample on the real kernel, and what happened when.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use anyhow::Result;
use console::style;

use crate::catalog;
use crate::catalog::Sample;
use crate::cli::KernelArgs;
use crate::error::Failure;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::ktap;
use crate::ktap::Verdict;
use crate::paths;
use crate::process::quote;
use crate::report;
use crate::timeline;
use crate::timeline::Phase;
use crate::timeline::Story;
use crate::vm;
use crate::vm::End;
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
    tell(&kernel, &modules, &sample, params).map(drop)
}

/// `cargo xtask demo`: every sample in turn, each in a guest of its own.
pub fn demo(args: &KernelArgs) -> Result<()> {
    let samples = catalog::samples()?;
    let kernel = Kernel::ensure(args)?;
    let names: Vec<String> = samples.iter().map(|s| s.stem.clone()).collect();
    let modules = kbuild::build(&kernel, &names)?;
    let mut told = Vec::new();
    let mut worst: Option<anyhow::Error> = None;
    for sample in &samples {
        match tell(&kernel, &modules, sample, &sample.livepatch.params) {
            Ok(story) => told.push((sample, Some(story))),
            Err(error) => {
                if error.downcast_ref() == Some(&Failure::Interrupted) {
                    return Err(error);
                }
                eprintln!("xtask: {}: {error:#}", sample.stem);
                told.push((sample, None));
                worst.get_or_insert(error);
            }
        }
        println!();
    }
    print!("{}", summary(&kernel.release, &told));
    worst.map_or(Ok(()), Err)
}

/// Run one sample and print its story.
fn tell(kernel: &Kernel, modules: &Path, sample: &Sample, params: &[String]) -> Result<Story> {
    println!(
        "{} {}",
        style(&sample.stem).bold().underlined(),
        style(format!("- {}", sample.description)).bold()
    );
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
    print!("{}", story.render(timeline::width()));
    print!("{}", report::guest_trouble(kernel, modules, &outcome));
    if let Some(failure) = outcome.failure() {
        bail!(failure);
    }
    let told = ktap::parse(&outcome.output);
    let mut failed = outcome.end != End::Exited(0);
    for case in &told.cases {
        if case.verdict == Verdict::Fail {
            failed = true;
            for line in &case.said {
                println!("    {line}");
            }
            println!(
                "    {}",
                style(format!("failed: {}", case.name)).red().bold()
            );
        }
    }
    for line in told.problems.iter().filter(|_| failed) {
        println!("    {}", style(line).red());
    }
    if let Some(why) = told.skipped {
        bail!(Failure::Host(format!("this kernel cannot run it: {why}")));
    }
    if failed {
        println!("    the whole log: {}", outcome.console.display());
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
        steps.push(format!("log {}", quote(&format!("% {command}"))));
        steps.push(format!("bash -c {}", quote(command)));
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
        steps.extend(livepatch.steps.iter().cloned());
    }
    for target in livepatch.targets.iter().rev() {
        steps.push(format!("unload_mod {}", quote(target)));
    }
    format!(
        "export KLP_MODULES_DIR={}\n. {}\nstory()\n{{\n\t{}\n}}\nktap_plan 1\nktap_case {} story\nktap_finish",
        quote(&modules.to_string_lossy()),
        quote(&root.join("selftests/functions.sh").to_string_lossy()),
        steps.join("\n\t"),
        quote(&sample.stem),
    )
}

/// Each sample in three lines: what it showed, what ran, how long the transition took.
fn summary(release: &str, told: &[(&Sample, Option<Story>)]) -> String {
    let mut text = format!(
        "{}\n",
        style(format!("{} samples on Linux {release}", told.len())).bold()
    );
    let widest = told.iter().map(|(s, _)| s.stem.len()).max().unwrap_or(0);
    for (sample, story) in told {
        let name = style(format!("{:<widest$}", sample.stem)).bold();
        let Some(story) = story else {
            text.push_str(&format!("  {name}  {}\n", style("failed").red().bold()));
            continue;
        };
        text.push_str(&format!("  {name}  {}\n", effect(story)));
        let mut calls: Vec<String> = story
            .callbacks()
            .iter()
            .map(|(at, call, _)| format!("{call} {at:+.3} s"))
            .collect();
        if let Some(took) = story.transition() {
            calls.push(format!("transition {took:.3} s"));
        }
        if !calls.is_empty() {
            let pad = " ".repeat(widest);
            text.push_str(&format!("  {pad}  {}\n", style(calls.join(", ")).dim()));
        }
    }
    text
}

/// The first effect that changed, before, during and after.
fn effect(story: &Story) -> String {
    let [before, during, after] =
        [Phase::Before, Phase::During, Phase::After].map(|phase| story.effects(phase));
    let changed = (0..before.len())
        .find(|&nr| before.get(nr) != during.get(nr))
        .unwrap_or(0);
    let (Some(first), Some(second)) = (before.get(changed), during.get(changed)) else {
        return "done".to_owned();
    };
    let third = after.get(changed).copied().unwrap_or("-");
    // What the three have in common need be said only once.
    let common = common_words(&[first, second, third]);
    let rest = |text: &str| text[common..].trim().to_owned();
    format!(
        "{}{} -> {} -> {}",
        &first[..common],
        rest(first),
        style(rest(second)).magenta().bold(),
        rest(third)
    )
}

/// The length of the longest common beginning that ends after a blank.
fn common_words(lines: &[&str]) -> usize {
    let Some(first) = lines.first() else { return 0 };
    first
        .match_indices(' ')
        .map(|(at, blank)| at + blank.len())
        .take_while(|&end| lines.iter().all(|l| l.get(..end) == Some(&first[..end])))
        .last()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Livepatch;

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
                "log '% sysctl -q x=1'",
                "bash -c 'sysctl -q x=1'",
                "[ -d /sys/module/a ] || load_mod a",
                "[ -d /sys/module/b ] || load_mod b",
                "show bash -c 'sysctl x' || true",
                "load_lp fix_it when=pre",
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
        sample.livepatch.steps = vec!["effect".to_owned(), "load_fails EBUSY fix_it".to_owned()];
        let text = script(Path::new("/r"), Path::new("/m"), &sample, &[]);
        assert!(text.contains("\tload_fails EBUSY fix_it\n"), "{text}");
        assert!(!text.contains("load_lp"), "{text}");
        assert!(
            text.contains("effect() { show bash -c 'sysctl x' || true; }"),
            "{text}"
        );
    }

    #[test]
    fn common_beginnings_end_at_words() {
        assert_eq!(common_words(&["a = 100", "a = 1000", "a = 100"]), 4);
        assert_eq!(common_words(&["abc", "abd"]), 0);
        assert_eq!(common_words(&[]), 0);
        assert_eq!(common_words(&["é = 1", "é = 2"]), 5);
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `cargo xtask run`: a sample on the real kernel, and what happened when.

use std::fmt::Write as _;
use std::path::Path;
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
use crate::cli::Order;
use crate::cli::RunArgs;
use crate::error;
use crate::error::Failure;
use crate::kbuild;
use crate::kernel::Kernel;
use crate::ktap::Verdict;
use crate::oops::pattern;
use crate::paths;
use crate::process;
use crate::report;
use crate::test;
use crate::timeline;
use crate::timeline::Phase;
use crate::timeline::Story;
use crate::vm;
use crate::vm::Guest;

/// A sample's story is told in seconds; this only ends a hang.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// `cargo xtask run NAME [PARAM…]`.
pub fn run(args: &KernelArgs, options: &RunArgs) -> Result<()> {
    let sample = catalog::sample(&options.name)?;
    if options.order.is_some() && sample.livepatch.targets.is_empty() {
        let what = "names no `targets` in its Cargo.toml, which --order is about";
        return Err(error::usage(format!("{} {what}", sample.stem)));
    }
    if let Some(errno) = &options.expect {
        let words = paths::read_lossy(&paths::root().join("selftests/functions.sh"));
        let table = pattern(r"\[(E[A-Z0-9]+)\]=");
        let known = table.captures_iter(&words).map(|c| c[1].to_owned());
        let known: Vec<_> = known.collect();
        if !known.contains(errno) {
            return Err(catalog::unknown("errno", errno, &known));
        }
    }
    if !options.is_usual() && !sample.livepatch.steps.is_empty() {
        println!("PARAM, --expect and --order: the plain story, in place of the `steps` in its Cargo.toml");
    }
    let kernel = Kernel::ensure(args)?;
    kbuild::build(&kernel, std::slice::from_ref(&sample.stem))?;
    let mut text = String::new();
    let story = tell(&mut text, &kernel, &sample, options);
    print!("{text}");
    let story = story?;
    match &options.expect {
        Some(errno) => println!("It was refused with {errno}, as expected."),
        None if options.is_usual() => println!("{}", effect(&sample.livepatch, &story)?),
        // In another story there may be another effect.
        None => {}
    }
    Ok(())
}

impl RunArgs {
    /// The story is the one that the sample's own manifest tells.
    fn is_usual(&self) -> bool {
        self.params.is_empty() && self.expect.is_none() && self.order.is_none()
    }
}

/// Run one sample with its own parameters: what changed, and how long the transition took.
pub fn story(text: &mut String, kernel: &Kernel, sample: &Sample) -> Result<(String, Option<f64>)> {
    if let Some(why) = kbuild::refused(kernel, &sample.stem) {
        bail!(Failure::Unfit(why));
    }
    let story = tell(text, kernel, sample, &RunArgs::default())?;
    Ok((effect(&sample.livepatch, &story)?, story.transition()))
}

/// Run one sample, and write its story into `text`.
fn tell(text: &mut String, kernel: &Kernel, sample: &Sample, options: &RunArgs) -> Result<Story> {
    let title = style(&sample.stem).bold().underlined();
    let about = style(format!("- {}", sample.description)).bold();
    writeln!(text, "{title} {about}")?;
    let script = script(&kbuild::modules_dir(kernel), sample, options);
    let mut guest = Guest::new(&format!("run-{}", sample.stem), script);
    guest.append.clone_from(&options.append);
    guest.nics = sample.livepatch.nics;
    guest.timeout = TIMEOUT;
    let outcome = vm::run(kernel, &guest, |_| {})?;

    let mut names = vec![sample.livepatch.module.as_str()];
    names.extend(sample.livepatch.targets.iter().map(String::as_str));
    let story = timeline::parse(&outcome.console_text(), &names);
    text.push_str(&story.render(timeline::width()));
    text.push_str(&report::guest_trouble(kernel, &outcome));
    outcome.end.clone()?;
    let cases = test::cases(&outcome.output, &outcome.end);
    let mut failed = false;
    for case in cases.iter().filter(|case| case.is_failed()) {
        for line in &case.said {
            writeln!(text, "    {line}")?;
        }
        let name = style(format!("failed: {}", case.name)).red().bold();
        writeln!(text, "    {name}")?;
        failed = true;
    }
    if failed {
        writeln!(text, "    the whole log: {}", outcome.console.display())?;
        bail!(Failure::TestFailed);
    }
    for case in cases {
        if let Verdict::Skip(why) = case.verdict {
            bail!(Failure::Unfit(why));
        }
    }
    Ok(story)
}

/// The script that a sample's guest runs, in the words of `selftests/functions.sh`.
fn script(modules: &Path, sample: &Sample, options: &RunArgs) -> String {
    let livepatch = &sample.livepatch;
    let module = &livepatch.module;
    let functions = paths::root().join("selftests/functions.sh");
    let words = paths::read_lossy(&functions);
    // A word of that file, or else a command as a user types it.
    let step = |step: &String| {
        let word = step.split_whitespace().next().unwrap_or_default();
        match word == "effect" || words.contains(&format!("\n{word}()")) {
            true => step.clone(),
            false => format!("typed {}", process::quote(step)),
        }
    };
    // A command that fails is an effect, too; its complaint is shown like any output.
    let show = |command: &String| format!("show bash -c {} || true; ", process::quote(command));
    let show: String = livepatch.show.iter().map(show).collect();
    let targets: Vec<String> = livepatch
        .targets
        .iter()
        .map(|t| process::quote(t))
        .collect();
    let after = options.order == Some(Order::After);
    let errno = options.expect.as_deref();

    let mut steps = vec![format!("effect() {{ {show}:; }}")];
    steps.extend(livepatch.setup.iter().map(step));
    // The guest loads the drivers of its own devices by itself.
    steps.extend(targets.iter().map(|t| match after {
        true => format!("[ ! -d /sys/module/{t} ] || unload_mod {t}"),
        false => format!("[ -d /sys/module/{t} ] || load_mod {t}"),
    }));
    let mut left = targets.len();
    if livepatch.steps.is_empty() || !options.is_usual() {
        let params = options
            .params
            .iter()
            .map(|p| format!(" {}", process::quote(p)));
        let params: String = params.collect();
        steps.push("effect".to_owned());
        steps.push(match errno {
            Some(errno) if !after => format!("load_fails {errno} {module}{params}"),
            _ => format!("load_lp {module}{params}"),
        });
        if after {
            left -= usize::from(errno.is_some());
            steps.extend(targets[..left].iter().map(|t| format!("load_mod {t}")));
            steps.extend(errno.map(|errno| format!("load_fails {errno} {}", targets[left])));
        }
        steps.push("effect".to_owned());
        if after || errno.is_none() {
            steps.push(format!("disable_lp {module}"));
            steps.push("effect".to_owned());
            steps.push(format!("unload_mod {module}"));
        }
    } else {
        steps.extend(livepatch.steps.iter().map(step));
    }
    let left = targets[..left].iter().rev();
    steps.extend(left.map(|t| format!("unload_mod {t}")));
    format!(
        "export KLP_MODULES_DIR={}\n. {}\nexport KLP_DIR\nstory()\n{{\n\t{}\n}}\nktap_plan 1\nktap_case {} story\nktap_finish",
        process::quote(&modules.to_string_lossy()),
        process::quote(&functions.to_string_lossy()),
        steps.join("\n\t"),
        process::quote(&sample.stem),
    )
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
            livepatch: Livepatch {
                module: "fix_it".to_owned(),
                targets: vec!["a".to_owned(), "b".to_owned()],
                setup: vec!["sysctl -q x=1".to_owned()],
                show: vec!["sysctl x".to_owned()],
                ..Livepatch::default()
            },
            ..Sample::default()
        }
    }

    /// The lines of the script for this story.
    fn steps(sample: &Sample, options: &RunArgs) -> Vec<String> {
        let text = script(Path::new("/m"), sample, options);
        let steps = text.lines().filter_map(|line| line.strip_prefix('\t'));
        steps.map(str::to_owned).collect()
    }

    #[test]
    fn what_is_loaded_last_may_be_refused() {
        let mut options = RunArgs {
            expect: Some("EBUSY".to_owned()),
            ..RunArgs::default()
        };
        let refused = ["effect", "load_fails EBUSY fix_it", "effect"];
        assert_eq!(steps(&sample(), &options)[4..7], refused);
        options.order = Some(Order::After);
        assert_eq!(
            steps(&sample(), &options)[2..],
            [
                "[ ! -d /sys/module/a ] || unload_mod a",
                "[ ! -d /sys/module/b ] || unload_mod b",
                "effect",
                "load_lp fix_it",
                "load_mod a",
                "load_fails EBUSY b",
                "effect",
                "disable_lp fix_it",
                "effect",
                "unload_mod fix_it",
                "unload_mod a",
            ]
        );
    }

    #[test]
    fn steps_of_its_own_take_the_place_of_the_usual_ones_unless_another_story_is_wanted() {
        let mut sample = sample();
        let own = ["effect", "load_fails EBUSY fix_it", "cat /proc/x"];
        sample.livepatch.steps = own.map(str::to_owned).to_vec();
        let mut options = RunArgs::default();
        assert_eq!(
            steps(&sample, &options),
            [
                "effect() { show bash -c 'sysctl x' || true; :; }",
                "typed 'sysctl -q x=1'",
                "[ -d /sys/module/a ] || load_mod a",
                "[ -d /sys/module/b ] || load_mod b",
                "effect",
                "load_fails EBUSY fix_it",
                // A plain command is shown with its output.
                "typed 'cat /proc/x'",
                "unload_mod b",
                "unload_mod a",
            ]
        );
        options.params.push("when=pre".to_owned());
        assert_eq!(steps(&sample, &options)[5], "load_lp fix_it 'when=pre'");
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

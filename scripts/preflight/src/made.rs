// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `made CHECKOUT COUNT SEED MODULE.ko…`: livepatches of functions drawn by lot, and of each kind, made by `new`, built, looked
//! at, loaded and removed; and the livepatches among the modules. As KTAP, with a table of what `preflight` and the kernel say.

use std::collections::BTreeMap;
use std::iter;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use fs_err as fs;

use crate::agreement;
use crate::agreement::Livepatch;
use crate::facts::Facts;
use crate::facts::Object;
use crate::kind;
use crate::kind::KINDS;
use crate::new;
use crate::new::Place;
use crate::recipe;
use crate::recipe::Wish;
use crate::xtask;

/// Object, function, callbacks and state of those that are made whatever the lot says: in a module, of several of one name.
const ALWAYS: [(&str, &str, &str, bool); 5] = [
    ("vmlinux", "", "", true),
    ("virtio_net", "virtnet_open", "", false),
    (
        "virtio_net",
        "virtnet_close",
        "pre_patch,post_unpatch",
        true,
    ),
    ("vmlinux", "init_once@2", "", false),
    (
        "vmlinux",
        "cmdline_proc_show",
        "pre_patch,post_patch,pre_unpatch,post_unpatch",
        false,
    ),
];

/// How many of those that were drawn are loaded at once.
const TOGETHER: usize = 10;

/// One that was made, or what hindered it.
struct Made {
    name: String,
    of: String,
    built: Result<PathBuf, String>,
    /// It changes nothing and hides nothing, so there is nothing to say of it.
    must_be_clean: bool,
}

/// Draws `count` functions by `seed`, and tries them and the livepatches among `files`.
pub fn run(
    facts: &mut Facts,
    root: &Path,
    count: usize,
    seed: usize,
    files: &[&str],
) -> Result<u8> {
    let dir = root.join("target/preflight/made");
    let _ = fs::remove_dir_all(&dir);
    let mut made = alone(facts, root, &dir)?;
    let first = made.len();
    made.extend(drawn(facts, root, &dir.join("lot"), count, seed)?);

    println!("KTAP version 1\n# seed {seed}");
    let (mut failed, mut nr) = (0, 0);
    let mut case = |good: bool, name: String| {
        nr += 1;
        failed |= u8::from(!good);
        println!("{} {nr} {name}", if good { "ok" } else { "not ok" });
    };
    let mut looked = Vec::new();
    for (at, one) in made.into_iter().enumerate() {
        let found = one.built.map_err(anyhow::Error::msg);
        let found = found
            .and_then(|file| Livepatch::look(facts, &file, &one.of)?.context("it is no livepatch"));
        if let Err(error) = &found {
            format!("{error:#}")
                .lines()
                .for_each(|line| println!("# {line}"));
        }
        let good = found
            .as_ref()
            .is_ok_and(|found| !one.must_be_clean || found.said() == "clean");
        if let (Ok(found), false) = (&found, good) {
            found.tell();
        }
        let clean = if one.must_be_clean { " and clean" } else { "" };
        case(
            good,
            format!("{}, of {}, is built{clean}", one.name, one.of),
        );
        looked.extend(found.ok().map(|found| (at, found)));
    }
    // One of the kinds replaces whatever is there.
    let group = |at: usize| match at {
        _ if at < ALWAYS.len() => 0,
        _ if at < first => at,
        _ => first + (at - first) / TOGETHER,
    };
    let mut busy: BTreeMap<usize, Vec<Livepatch>> = BTreeMap::new();
    for (at, one) in looked {
        busy.entry(group(at)).or_default().push(one);
    }
    let mut busy: Vec<_> = busy.into_values().collect();
    let mut others = Vec::new();
    for file in files {
        let file = Path::new(file);
        let of = match file.iter().any(|part| part == "upstream") {
            true => "the kernel's tests",
            false => "this repository",
        };
        others.extend(Livepatch::look(facts, file, of)?);
    }
    let trouble = agreement::load(&dir, &mut busy, &mut others)?;
    trouble
        .iter()
        .flat_map(|said| said.lines())
        .for_each(|line| println!("# {line}"));
    for one in busy.iter().flatten() {
        let good = one.agrees() && (one.came_and_went() || one.said() == "refused");
        if !good {
            one.tell();
        }
        case(
            good,
            format!(
                "{}, of {}, is loaded and removed, or refused by both",
                one.name(),
                one.of
            ),
        );
    }
    for one in &others {
        if !one.agrees() {
            one.tell();
        }
        let name = format!("{}, of {}, is {} to both", one.name(), one.of, one.said());
        case(one.agrees(), name);
    }
    let (each, sums) = agreement::tables(busy.iter().flatten().chain(&others));
    let file = dir.with_file_name("agreement.md");
    fs::write(&file, each)?;
    sums.lines().for_each(|line| println!("# {line}"));
    println!("# each of them: {}\n1..{nr}", file.display());
    Ok(failed)
}

/// A place for samples, with an empty book.
fn house(root: &Path, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir.join("book/src"))?;
    fs::write(dir.join("book/src/SUMMARY.md"), "")?;
    symlink(root.join("shared"), dir.join("shared")).context("linking the crate")
}

/// Those that are made whatever the lot says, built as their authors do.
fn alone(facts: &Facts, root: &Path, dir: &Path) -> Result<Vec<Made>> {
    house(root, dir)?;
    let place = Place {
        house: dir,
        out: None,
    };
    let mut named = Vec::new();
    for (object, function, callbacks, state) in ALWAYS {
        let wish = Wish::new(function, callbacks, state)?;
        let stem = format!("made-{}", named.len());
        let sample = recipe::sample(facts, &stem, &wish, &Object::new(object), None)?;
        new::make(&place, &stem, sample)?;
        named.push((stem, function.to_owned()));
    }
    for (kind, sample) in KINDS {
        let stem = format!("made-{kind}");
        new::make(&place, &stem, kind::sample(root, &stem, kind)?)?;
        named.push((stem, format!("the kind of {sample}")));
    }
    let folders = named.iter().map(|(stem, _)| dir.join("samples").join(stem));
    let modules = build(folders);
    let made = named.into_iter().map(|(stem, of)| {
        let name = stem.replace('-', "_");
        let file = |folder: &PathBuf| folder.join(format!("{name}.ko"));
        Made {
            built: modules.as_ref().map(file).map_err(Clone::clone),
            name,
            of,
            must_be_clean: true,
        }
    });
    Ok(made.collect())
}

/// Those of functions that `seed` draws, all built by one `make`.
fn drawn(facts: &Facts, root: &Path, dir: &Path, count: usize, seed: usize) -> Result<Vec<Made>> {
    house(root, dir)?;
    let all = facts.traced_functions();
    // Without a common factor a stride comes by every function once.
    let first = seed.wrapping_mul(7919) % all.len().max(1);
    let stride = iter::successors(Some(first), |at| Some((at + 10_007) % all.len()));
    let lot: Vec<&str> = stride.take(4 * count).map(|at| all[at]).collect();
    facts.definitions.find(&lot)?;
    let place = Place {
        house: dir,
        out: None,
    };
    let mut named = Vec::new();
    let mut folders = "# SPDX-License-Identifier: GPL-2.0\n\n".to_owned();
    for function in lot {
        if named.len() == count {
            break;
        }
        let stem = format!("drawn-{}", named.len());
        let wish = Wish::new(function, "", false)?;
        // What has a prototype that Rust can pass on.
        if let Ok(sample) = recipe::sample(facts, &stem, &wish, &Object::Vmlinux, None) {
            new::make(&place, &stem, sample)?;
            folders += &format!("obj-m += samples/{stem}/\n");
            named.push((stem, function.to_owned()));
        }
    }
    fs::write(dir.join("Kbuild"), folders)?;
    let built = build([dir]);
    let built = built.map(|modules| modules.with_file_name("own-lot").join("samples"));
    let made = named.into_iter().map(|(stem, of)| {
        let name = stem.replace('-', "_");
        let file = |folder: &PathBuf| folder.join(stem).join(format!("{name}.ko"));
        Made {
            built: built.as_ref().map(file).map_err(Clone::clone),
            name,
            of,
            must_be_clean: false,
        }
    });
    Ok(made.collect())
}

/// Builds folders of modules; gives the folder where those are that are not in one of their own, or what hindered it.
fn build(folders: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<PathBuf, String> {
    let mut command = xtask().map_err(|error| error.to_string())?;
    command.arg("build");
    for folder in folders {
        command.arg(folder.as_ref());
    }
    let made = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&made.stdout);
    match said.lines().find_map(|line| line.strip_prefix("modules: ")) {
        Some(modules) if made.status.success() => Ok(modules.into()),
        _ => Err(String::from_utf8_lossy(&made.stderr).into_owned()),
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `made CHECKOUT COUNT SEED`: livepatches of functions drawn by lot, and of each kind, made by `new`, built, looked at, loaded
//! and removed. As KTAP.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::examine;
use crate::facts::Code;
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

/// Loads the modules of each argument, lets the machine do something, and takes them away again; prints the names of those that
/// did it all.
const TRY: &str = r#"cd "$1" && shift
settled() { for _ in $(seq 600); do [ "$(cat "$1" 2>/dev/null || echo 0)" = 0 ] && return; sleep 0.1; done; return 1; }
modprobe virtio_net
for group; do
	for m in $group; do insmod "$m.ko" && settled "/sys/kernel/livepatch/$m/transition" || echo "$m: cannot be loaded"; done
	ip link set lo up; ping -c 2 -i 0.2 127.0.0.1; find /proc/self /sys/class -maxdepth 2 | wc -l; dd if=/dev/zero of=/tmp/x bs=64k count=64; sync
	for m in $group; do
		echo 0 > "/sys/kernel/livepatch/$m/enabled"
		for _ in $(seq 600); do [ -e "/sys/kernel/livepatch/$m" ] || break; sleep 0.1; done
		rmmod "$m" && echo "done: $m"
	done
done
"#;

/// Draws `count` functions by `seed`, and tries them.
pub fn run(facts: &mut Facts, root: &Path, count: usize, seed: usize) -> Result<u8> {
    let dir = root.join("target/preflight/made");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.join("book/src"))
        .with_context(|| format!("creating {}", dir.display()))?;
    fs::write(dir.join("book/src/SUMMARY.md"), "").context("writing a summary")?;
    std::os::unix::fs::symlink(root.join("shared"), dir.join("shared"))
        .context("linking the crate")?;

    let house = Place::House(&dir);
    let mut made = Vec::new();
    for (object, function, callbacks, state) in ALWAYS {
        let wish = Wish::new(function, callbacks, state)?;
        make(facts, &house, &mut made, &wish, &Object::new(object))?;
    }
    // Without a common factor a stride comes by every function once.
    let all = facts.traced_functions();
    let mut at = seed.wrapping_mul(7919) % all.len().max(1);
    for _ in 0..50 * count {
        if made.len() >= ALWAYS.len() + count {
            break;
        }
        at = (at + 10_007) % all.len();
        let inlined = Code::Vmlinux(facts).inlined(&Object::Vmlinux, &all[at])?;
        if !inlined.into.is_empty() {
            continue;
        }
        // What has a prototype that Rust can pass on.
        let _ = make(
            facts,
            &house,
            &mut made,
            &Wish::new(&all[at], "", false)?,
            &Object::Vmlinux,
        );
    }
    let functions = made.len();
    for (kind, sample) in KINDS {
        let stem = format!("made-{kind}");
        new::make(&house, &stem, kind::sample(root, &stem, kind)?)?;
        made.push((stem.replace('-', "_"), format!("the kind of {sample}")));
    }

    println!("KTAP version 1\n1..{}\n# seed {seed}", 2 * made.len());
    let mut failed = 0;
    let mut nr = 0;
    let mut case = |good: bool, name: &str| {
        nr += 1;
        failed |= u8::from(!good);
        println!("{} {nr} {name}", if good { "ok" } else { "not ok" });
    };
    let mut out = PathBuf::new();
    for (module, function) in &made {
        let built = build(&dir.join("samples").join(module.replace('_', "-")));
        let looked = built.and_then(|folder| {
            out = folder;
            examine(facts, &out.join(format!("{module}.ko")).to_string_lossy())
        });
        let said = match looked {
            Ok((_, Some(findings))) => findings.iter().map(ToString::to_string).collect(),
            Ok((_, None)) => vec!["it is no livepatch".to_owned()],
            Err(error) => vec![format!("{error:#}")],
        };
        said.iter()
            .flat_map(|text| text.lines())
            .for_each(|line| println!("# {line}"));
        case(
            said.is_empty(),
            &format!("{module}, of {function}, is built and clean"),
        );
    }
    fs::write(dir.join("try"), TRY).context("writing the guest's script")?;
    // One of the kinds replaces whatever is there.
    let modules: Vec<&str> = made.iter().map(|(module, _)| module.as_str()).collect();
    let (drawn, kinds) = modules.split_at(functions);
    let groups = std::iter::once(drawn.join(" ")).chain(kinds.iter().map(ToString::to_string));
    let guest = xtask()?
        .args([
            "shell",
            "--no-build",
            "--nics",
            "1",
            "--timeout",
            "900",
            "--",
            "bash",
        ])
        .arg(dir.join("try"))
        .arg(&out)
        .args(groups)
        .stdin(Stdio::null())
        .output()
        .context("starting a guest")?;
    let said = String::from_utf8_lossy(&guest.stdout) + String::from_utf8_lossy(&guest.stderr);
    if !guest.status.success() {
        said.lines().for_each(|line| println!("# {line}"));
    }
    for (module, function) in &made {
        let good = guest.status.success() && said.contains(&format!("done: {module}\n"));
        case(
            good,
            &format!("{module}, of {function}, is loaded and removed"),
        );
    }
    Ok(failed)
}

fn make(
    facts: &Facts,
    house: &Place<'_>,
    made: &mut Vec<(String, String)>,
    wish: &Wish,
    object: &Object,
) -> Result<()> {
    let stem = format!("made-{}", made.len());
    new::make(
        house,
        &stem,
        recipe::sample(facts, &stem, wish, object, None)?,
    )?;
    made.push((stem.replace('-', "_"), wish.function.clone()));
    Ok(())
}

/// Builds a folder of modules; gives the folder where they are.
fn build(folder: &Path) -> Result<PathBuf> {
    let made = xtask()?
        .arg("build")
        .arg(folder)
        .output()
        .context("starting xtask")?;
    let said = String::from_utf8_lossy(&made.stdout);
    match said.lines().find_map(|line| line.strip_prefix("modules: ")) {
        Some(modules) if made.status.success() => Ok(modules.into()),
        _ => bail!("{}", String::from_utf8_lossy(&made.stderr)),
    }
}

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What virtme-ng and QEMU are told of a guest.

use anyhow::Result;
use fs_err as fs;

use super::Accel;
use super::Guest;
use crate::error;
use crate::kernel::own;
use crate::kernel::Kernel;
use crate::paths;

/// How guests see the build root: they keep in memory what they have read. Where it is missing, 9p, which keeps nothing.
pub const VIRTIO_FS: &str = "VIRTIO_FS";

/// virtme-ng's arguments for `guest` on `kernel`, whatever runs in it.
pub fn arguments(guest: &Guest, kernel: &Kernel, accel: Accel) -> Result<Vec<String>> {
    let mut args = match kernel.is_arm64() {
        true => of_arm64(kernel)?,
        false => Vec::new(),
    };
    let mut add = |words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));
    add(&["--run", &kernel.image.to_string_lossy()]);
    if kernel.is_without(VIRTIO_FS) {
        add(&["--force-9p"]);
    }
    if accel != Accel::Kvm {
        add(&["--disable-kvm"]);
        // The kernel need not try its ciphers, which takes a second.
        add(&["--append", "cryptomgr.notests"]);
        if !kernel.is_arm64() {
            // QEMU's translator takes string instructions byte by byte, without these a page is cleared in half the time; it
            // walks page tables itself, and of four levels sooner than of five. Each of virtme-ng's streams is a device of its
            // own, and has 64 queues to set up unless it is told of its one port.
            add(&["--qemu-opts=-cpu max,erms=off,fsrm=off,la57=off -global virtio-serial-pci.max_ports=2"]);
        }
    }
    if accel == Accel::Counted {
        add(&["--qemu-opts=-icount shift=0,sleep=off"]);
        if guest.cpus == 1 && !kernel.is_arm64() {
            // Its calibration spins on the clock, and each look at the clock ends a translated block: a third of a boot.
            add(&["--append", "noapictimer"]);
        }
    }
    add(&["--user", "root", "--cpus", &guest.cpus.to_string()]);
    add(&["--memory", &format!("{}M", guest.memory_mib)]);
    for nr in 0..guest.nics {
        match kernel.is_arm64() {
            // virtme-ng would put it on another bus than PCI.
            true => add(&[&format!(
                "--qemu-opts=-netdev user,id=nic{nr} -device virtio-net-pci,netdev=nic{nr},romfile="
            )]),
            // The tests configure the cards; DHCP would race with them.
            false => add(&["--network", "user", "--no-dhcp"]),
        }
    }
    for folder in &guest.writable {
        add(&[&format!("--rwdir={0}={0}", folder.display())]);
    }
    // An oops ends the guest: nothing after it can be believed.
    add(&["--append", "oops=panic"]);
    // On a busy host the emulated timer may tick too late for the kernel's test of it, which then panics.
    add(&["--append", "no_timer_check"]);
    // Test scripts write to the kernel's log without being rationed.
    add(&["--append", "printk.devkmsg=on"]);
    for word in &guest.append {
        add(&["--append", word]);
    }
    Ok(args)
}

/// The files of a guest that cannot run the build root's programs: the tree that `scripts/setup arm64` makes, with
/// checkout and cache where scripts look for them, and the kernel's modules.
fn of_arm64(kernel: &Kernel) -> Result<Vec<String>> {
    let cache = paths::cache()?;
    let tree = own::arm64_tree()?.ok_or_else(|| {
        error::host("the files of an arm64 guest are missing: ./scripts/setup arm64")
    })?;
    let mut args = ["--arch", "arm64", "--root"].map(str::to_owned).to_vec();
    args.push(tree.to_string_lossy().into_owned());
    for folder in [&paths::root(), &cache] {
        // Nothing can be made in the tree once it is the guest's.
        fs::create_dir_all(tree.join(folder.strip_prefix("/")?))?;
        args.push(format!("--rodir={0}={0}", folder.display()));
    }
    let modules = kernel.build.join("lib/modules");
    args.push(format!("--rodir=/lib/modules={}", modules.display()));
    Ok(args)
}

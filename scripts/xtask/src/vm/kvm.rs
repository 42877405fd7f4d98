// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whether KVM can be believed.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use nix::unistd::access;
use nix::unistd::AccessFlags;

use super::run_with;
use super::Accel;
use super::Guest;
use crate::kernel::Kernel;
use crate::paths;

/// How long a guest may take to show that KVM works here.
const KVM_PROBE: Duration = Duration::from_secs(20);

/// How guests run here: by KVM where a guest was *seen* to boot with it, else by TCG.
///
/// `/dev/kvm` may open, create a virtual machine, and never run it; so the first call boots a
/// guest with a short time-out, and the cache folder remembers the answer.
pub fn accel(kernel: &Kernel) -> Result<Accel> {
    if kernel.is_arm64() || access("/dev/kvm", AccessFlags::R_OK | AccessFlags::W_OK).is_err() {
        return Ok(Accel::Tcg);
    }
    let host = paths::read_lossy(Path::new("/proc/sys/kernel/osrelease"));
    let note = paths::cache()?.join("kvm.json");
    // Which kernel of the host it was seen on, since another one may differ, and whether it boots.
    let seen: Option<(String, bool)> = serde_json::from_str(&paths::read_lossy(&note)).ok();
    let boots = match seen.filter(|seen| seen.0 == host) {
        Some((_, boots)) => boots,
        None => {
            let seconds = KVM_PROBE.as_secs();
            eprintln!("/dev/kvm is there: trying it once, for at most {seconds} s");
            let mut guest = Guest::new("kvm-probe", "true");
            guest.timeout = KVM_PROBE;
            let outcome = run_with(kernel, &guest, Accel::Kvm, &mut |_| {})?;
            let boots = outcome.end == Ok(0);
            let how = match boots {
                true => "KVM boots a guest: using it",
                false => "KVM does not boot a guest here: using QEMU's translator",
            };
            eprintln!("{how} from now on");
            paths::write_whole(&note, &serde_json::to_string(&(host, boots))?)?;
            boots
        }
    };
    Ok(if boots { Accel::Kvm } else { Accel::Tcg })
}

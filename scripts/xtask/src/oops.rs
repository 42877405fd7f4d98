// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a kernel complains of in its log, and where in the source that is.

use std::process::Command;
use std::sync::LazyLock;

use regex::Regex;

use crate::kbuild;
use crate::kernel::Kernel;
use crate::process;

/// How many lines one complaint may take.
const LONGEST: usize = 120;

/// How many lines may follow a complaint's first line before its trace begins.
const LEAD: usize = 12;

/// How many seconds the symboliser may take; raw addresses are better than waiting.
const PATIENCE: &str = "180";

/// What begins a complaint, wherever it stands in the log; the scripts judge by the same file.
static COMPLAINT: LazyLock<Regex> = LazyLock::new(|| {
    let lines = include_str!("../../../selftests/complaints").lines();
    let patterns: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
    pattern(&patterns.join("|"))
});

/// What only a kernel at its end says.
static FATAL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"Kernel panic - not syncing|\bOops: |kernel BUG at "));

/// The line with which a trace ends.
static TRACE_END: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"---\[ end (trace|Kernel panic)|</TASK>|^=+$"));

/// What the kernel prints before each line: the time, perhaps the caller.
static PREFIX: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(<\d+>)?\[\s*\d+\.\d+\](\[\s*[TC]\d+\])? ?"));

/// A line that belongs to some trace.
static IN_TRACE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^\s|^kmemleak:\s|^(CPU|Modules linked in|Hardware name|RIP|RSP|Code|Call Trace|R[A-D0-9][X0-9]|CR2|DR|FS|CS|PKRU|Workqueue|Tainted)\b|\+0x[0-9a-f]+/0x",
    )
});

/// What a transcript has of livepatches and of the end; not the line `RIP:` of user space.
static TOLD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(livepatch: |\w+: (pre|post)_(un)?patch: |Oops: |BUG: |RIP: 0010:|Workqueue: |Kernel panic)",
    )
});

/// An address.
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(0x)?[0-9a-f]{12,16}\b"));

/// How far into a function, and how long that is: each build's own.
static OFFSET: LazyLock<Regex> = LazyLock::new(|| pattern(r"\+0x[0-9a-f]+/0x[0-9a-f]+"));

/// A constant pattern; a mistake in one shows in the first unit test.
pub fn pattern(text: &str) -> Regex {
    #[expect(
        clippy::expect_used,
        reason = "a constant, compiled by every unit test"
    )]
    Regex::new(text).expect("a valid pattern")
}

/// One complaint of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Its first line, without the time.
    pub title: String,
    /// All of its lines as they stand in the log.
    pub lines: Vec<String>,
}

/// A log line without what printk puts before it.
pub fn message(line: &str) -> &str {
    let end = PREFIX.find(line).map_or(0, |m| m.end());
    line.get(end..).unwrap_or(line)
}

/// Lines that test scripts and this tool write into the log; they may quote anything.
fn is_ours(message: &str) -> bool {
    ["% ", "# ", "! "]
        .iter()
        .any(|mark| message.starts_with(mark))
}

/// Did this kernel come to its end?
pub fn is_fatal(log: &str) -> bool {
    log.lines()
        .map(message)
        .any(|line| !is_ours(line) && FATAL.is_match(line))
}

/// The lines of a complaint that concern the kernel: not the registers of the process that called
/// it, which `decode_stacktrace.sh` would take for kernel code and disassemble.
fn kernel_side(lines: &[String]) -> Vec<String> {
    let mut user = false;
    let mut kept = lines.to_vec();
    kept.retain(|line| {
        let line = message(line);
        if line.starts_with("RIP: 0033:") {
            user = true;
        } else if line.contains("TASK>") || line.starts_with("---[") {
            user = false;
        }
        !user
    });
    kept
}

/// Every complaint in `log`, in order.
pub fn complaints(log: &str) -> Vec<Complaint> {
    let lines: Vec<&str> = log.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let first = message(lines[at]);
        let harmless = is_ours(first) || first.starts_with("Kernel command line");
        let mut end = at + 1;
        if !harmless && COMPLAINT.is_match(first) {
            end = end_of(&lines, at);
            found.push(Complaint {
                title: first.trim().to_owned(),
                lines: lines[at..end].iter().map(|l| (*l).to_owned()).collect(),
            });
        }
        at = end;
    }
    found
}

/// The line after the complaint that begins at `start`.
fn end_of(lines: &[&str], start: usize) -> usize {
    let limit = lines.len().min(start + LONGEST);
    let mut end = start + 1;
    let mut last = start;
    while end < limit {
        let line = message(lines[end]);
        if is_ours(line) {
            break;
        }
        if IN_TRACE.is_match(line) || COMPLAINT.is_match(line) {
            last = end;
        }
        if TRACE_END.is_match(line) && last > start {
            return end + 1;
        }
        if end - last > LEAD {
            break;
        }
        end += 1;
    }
    last + 1
}

/// The last `n` lines of `log` that say something.
pub fn tail(log: &str, n: usize) -> Vec<&str> {
    let lines = log.lines().filter(|line| !message(line).trim().is_empty());
    let lines: Vec<&str> = lines.collect();
    lines[lines.len().saturating_sub(n)..].to_vec()
}

/// The story of a guest that dies, as a transcript: from the first command on what a transcript of
/// the selftests has, then what the kernel says of its end, without what differs from run to run.
pub fn last_words(log: &str) -> String {
    let mut text = String::new();
    let lines = log.lines().map(message);
    for line in lines.skip_while(|line| !is_ours(line)) {
        // The kernel prints its registers again when it gives up.
        let again = line.starts_with("RIP: ") && text.contains("\nRIP: ");
        if is_ours(line) || (TOLD.is_match(line) && !again) {
            let line = ADDRESS.replace_all(line.trim_end(), "<address>");
            // Page tables that are not isolated are the processor's affair.
            text.push_str(line.strip_suffix(" NOPTI").unwrap_or(&line));
            text.push('\n');
        }
        if line.starts_with("Kernel panic") {
            break;
        }
    }
    text
}

/// Do two stories of guests that died tell the same? Of the death itself only that it was one by an oops counts: freed
/// text holds breakpoints until it loses its right to be executed, and the kernel dies of the one or of the other.
pub fn same_last_words(a: &str, b: &str) -> bool {
    let told = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with("BUG: unable to handle"))
            .map(|line| match line {
                _ if line.starts_with("Oops: ") => "Oops".to_owned(),
                _ if line.starts_with("Kernel panic - not syncing: ") => "panic".to_owned(),
                _ => OFFSET.replace_all(line, "").into_owned(),
            })
            .collect()
    };
    told(a) == told(b)
}

/// The same lines with source files and line numbers, as far as the kernel's own
/// `decode_stacktrace.sh` can tell; unchanged where it cannot.
pub fn symbolize(kernel: &Kernel, lines: &[String]) -> Vec<String> {
    let lines = kernel_side(lines);
    decode(kernel, &lines).unwrap_or(lines)
}

fn decode(kernel: &Kernel, lines: &[String]) -> Option<Vec<String>> {
    let script = kernel.source.join("scripts/decode_stacktrace.sh");
    // Of a kernel that was built here.
    let vmlinux = Some(kernel.build.join("vmlinux")).filter(|file| file.is_file())?;
    let input = tempfile::NamedTempFile::new().ok()?;
    std::fs::write(&input, lines.join("\n") + "\n").ok()?;
    let read = r#"input=$1; shift; exec bash "$@" <"$input""#;
    let mut command = Command::new("timeout");
    command
        .args([PATIENCE, "bash", "-c", read, "decode"])
        .arg(input.path())
        .arg(&script)
        .args([&vmlinux, &kernel.build, &kbuild::modules_dir(kernel)])
        .current_dir(&kernel.source);
    let text = process::capture(&mut command).ok()?;
    let decoded: Vec<String> = text.lines().map(|l| l.trim_end().to_owned()).collect();
    // It drops nothing when it works; fewer lines mean that it gave up half-way.
    (decoded.len() >= lines.len()).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANIC: &str = "\
[    3.861603] virtme-ng-init: starting script
[    3.932667] sysrq: Trigger a crash
[    3.933233] Kernel panic - not syncing: sysrq triggered crash
[    3.933735] CPU: 1 UID: 0 PID: 62 Comm: sh Not tainted 7.2.12 #1 PREEMPTLAZY
[    3.934171] Call Trace:
[    3.934756]  <TASK>
[    3.934964]  dump_stack_lvl+0x29/0x60
[    3.935344]  sysrq_handle_crash+0x16/0x20
[    3.938118]  </TASK>
[    3.938845] Kernel Offset: disabled
";

    #[test]
    fn a_death_may_have_two_causes_and_one_story() {
        let story = "% rmmod m\nOops: int3: 0000 [#1] SMP\nRIP: 0010:<address>\n\
                     Kernel panic - not syncing: Fatal exception in interrupt\n";
        let fault = "% rmmod m\nBUG: unable to handle page fault for address: <address>\n\
                     Oops: Oops: 0011 [#1] SMP\nRIP: 0010:<address>\n\
                     Kernel panic - not syncing: Fatal exception\n";
        assert!(same_last_words(story, fault));
        assert!(!same_last_words(
            story,
            &fault.replace("rmmod m", "rmmod n")
        ));
        assert!(!same_last_words(story, "% rmmod m\n"));
        let here = "RIP: 0010:f+0x216/0x230\n";
        assert!(same_last_words(here, "RIP: 0010:f+0x206/0x220\n"));
        assert!(!same_last_words(here, "RIP: 0010:g+0x216/0x230\n"));
    }

    #[test]
    fn a_panic_is_found_with_its_trace() {
        let found = complaints(PANIC);
        assert_eq!(found.len(), 1, "{found:#?}");
        let title = "Kernel panic - not syncing: sysrq triggered crash";
        assert_eq!(found[0].title, title);
        assert_eq!(found[0].lines.len(), 7);
        assert!(is_fatal(PANIC));
        let twice = format!("{PANIC}[    4.0] all is well\n{PANIC}");
        assert_eq!(complaints(&twice).len(), 2);
    }

    #[test]
    fn complaints_of_all_kinds_are_seen() {
        for line in [
            "BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "Oops: Oops: 0000 [#1] SMP",
            "kernel BUG at mm/slub.c:100!",
            "WARNING: kernel/livepatch/core.c:12 at klp_do+0x10/0x20, CPU#1: insmod/77",
            "WARNING: CPU: 0 PID: 77 at kernel/x.c:3 f+0x1/0x2",
            "WARNING: possible circular locking dependency detected",
            "general protection fault, probably for non-canonical address",
            "UBSAN: array-index-out-of-bounds in x.c:1:2",
            "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "kmemleak: unreferenced object 0xff11000002d9bd80 (size 128):",
            // A checker that has gone blind.
            "kmemleak: Kernel memory leak detector disabled",
            "ODEBUG: Out of memory. ODEBUG disabled",
            // As the debug kernel says them.
            "[ BUG: Invalid wait context ]",
            "BUG: KASAN: slab-out-of-bounds in init_module+0x711/0x1000 [splat]",
            "ODEBUG: free active (active state 0) object: 00000000a0fbdcd8 object type: timer_list hint: fn+0x0/0x10 [splat]",
            "list_del corruption, ff1100000a077988->next is NULL",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "INFO: task sh:12 blocked for more than 120 seconds.",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 26s!",
            "refcount_t: underflow; use-after-free.",
            "rust_kernel: panicked at samples/x.rs:1:2:",
        ] {
            // A caller id (CONFIG_PRINTK_CALLER) changes nothing.
            for prefix in ["[    1.000000] ", "[    1.000000][   T12] "] {
                assert_eq!(complaints(&format!("{prefix}{line}\n")).len(), 1, "{line}");
            }
        }
    }

    #[test]
    fn the_shell_reads_the_patterns_as_we_do() {
        let script = format!(
            "grep -v '^#' '{}' | grep -E -c -f - <(echo \"$0\")",
            crate::paths::root().join("selftests/complaints").display()
        );
        for (line, seen) in [
            ("WARNING: kernel/x.c:3 at f+0x1/0x2", "1\n"),
            ("kmemleak: 10 new suspected memory leaks", "1\n"),
            ("WARNING! DEBUG: x", "0\n"),
        ] {
            let output = Command::new("bash").args(["-c", &script, line]).output();
            assert_eq!(String::from_utf8_lossy(&output.unwrap().stdout), seen);
        }
    }

    #[test]
    fn harmless_lines_are_no_complaints() {
        let log = "\
[    0.0] clocksource: Watchdog remote CPU 1 read timed out
[    1.000000] livepatch: enabling patch 'x'
[    1.000000] % echo BUG: no
[    1.000000] # BUG: an effect line
[    1.000000] x: loading out-of-tree module taints kernel.
[    1.000000] WARNING! power/level is deprecated
[    1.000000] kmemleak: Kernel memory leak detector initialized
";
        assert_eq!(complaints(log), []);
        assert!(!is_fatal(log));
    }

    #[test]
    fn user_space_registers_are_left_out() {
        let lines = [
            "[ 1.0]  do_syscall_64+0x1/0x2",
            "[ 1.0] RIP: 0033:0x7f00",
            "[ 1.0] Code: 40 00",
            "[ 1.0]  </TASK>",
            "[ 1.0] Kernel Offset: disabled",
        ];
        let kept = kernel_side(&lines.map(str::to_owned));
        assert_eq!(kept, [lines[0], lines[3], lines[4]]);
    }

    #[test]
    fn last_words_are_a_transcript() {
        let log = "\
[    1.0] livepatch: of the boot
[    1.9] # it is new
[    2.0] % insmod bad.ko
[    2.1] livepatch: enabling patch 'bad'
[    2.2] bad: tainting kernel with TAINT_LIVEPATCH
[    2.3] bad: pre_patch: vmlinux
[    3.0] # it lives
[    4.0] Oops: int3: 0000 [#1] SMP
[    4.1] CPU: 0 UID: 0 PID: 17 Comm: kworker/0:1
[    4.2] Workqueue: events 0xffffffffa00005f0 (x)
[    4.3] RIP: 0010:0xffffffffa00005f1
[    4.4] RIP: 0033:0x7f0000000000
[    4.5] RIP: 0010:0xffffffffa00005f1
[    4.6] Kernel panic - not syncing: Fatal exception
[    4.7] RIP: 0010:0xffffffffa00005f1
";
        assert_eq!(
            last_words(log),
            "# it is new\n% insmod bad.ko\nlivepatch: enabling patch 'bad'\nbad: pre_patch: vmlinux\n# it lives\n\
             Oops: int3: 0000 [#1] SMP\nWorkqueue: events <address> (x)\nRIP: 0010:<address>\n\
             Kernel panic - not syncing: Fatal exception\n"
        );
    }
}

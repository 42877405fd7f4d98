#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Load a livepatch again and again, and each time let another allocation fail.

    fail_nth.py [OPTION…] FILE.ko [PARAMETER=VALUE…]

Each time the load must either succeed, and then do what it does otherwise, or fail with an errno; either
way nothing may be left behind. "Nothing" is: the loaded modules with their users, the livepatches, the
kprobes, the functions that ftrace has its hands on, and what the command of --watch prints.

Three sweeps (--sweep):
  init      faults in the task that loads, from the module's init on: the livepatch core, the callbacks
  loader    faults in the task that loads, from the system call on: the whole module loader as well
  complete  faults wherever the transition ends, usually a kworker: post_patch and post_unpatch

The first two count allocations with /proc/self/fail-nth. That counter belongs to one task, so for the last one
the injection's own `space` is used: so many bytes may be allocated, then one allocation fails.

Prints a line for each point that was tried, and at the end one that adds them up, both as KEY=VALUE.
Exit status: 0 all is well; 1 something was left, or did not work; 2 wrong usage.
"""

import argparse
import collections
import ctypes
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time

DEBUGFS = "/sys/kernel/debug"
LIVEPATCH = "/sys/kernel/livepatch"
FINIT_MODULE = 313  # x86-64
DELETE_MODULE = 176
MCL_CURRENT, MCL_FUTURE = 1, 2

libc = ctypes.CDLL(None, use_errno=True)
patience = int(os.environ.get("KLP_WAIT", "60"))


class Wrong(Exception):
    """The kernel is not as it should be."""


def read(path, missing=""):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return missing


def write(path, value):
    with open(path, "w") as file:
        file.write(str(value))


def wait_for(what, condition):
    for _ in range(patience * 50):
        if condition():
            return
        time.sleep(0.02)
    raise Wrong(f"{what}: still not so after {patience} s")


def range_of(symbol):
    """Where the code of a kernel function begins and ends."""
    text = sorted(
        int(address, 16)
        for address, kind, *_ in map(str.split, open("/proc/kallsyms"))
        if kind in "tTwW"
    )
    start = next(
        int(address, 16)
        for address, _, name, *_ in map(str.split, open("/proc/kallsyms"))
        if name == symbol
    )
    return start, next(address for address in text if address > start)


class Injection:
    """failslab and fail_page_alloc, put back at the end."""

    WANTED = {
        # Every allocation may fail, also one that could wait for memory.
        "failslab": {"ignore-gfp-wait": "N", "cache-filter": "N"},
        "fail_page_alloc": {"ignore-gfp-wait": "N", "ignore-gfp-highmem": "N", "min-order": "0"},
    }

    def __init__(self, symbol):
        self.old = {}
        start, end = range_of(symbol) if symbol else (0, 2**64 - 1)
        for name, wanted in self.WANTED.items():
            common = {
                "probability": 0,
                "interval": 1,
                "times": -1,
                "space": 0,
                "verbose": 0,
                "task-filter": "N",
                "stacktrace-depth": 32,
                "require-start": hex(start),
                "require-end": hex(end),
            }
            for file, value in {**common, **wanted}.items():
                path = f"{DEBUGFS}/{name}/{file}"
                self.old[path] = read(path).strip()
                write(path, value)

    def restore(self):
        for path, value in self.old.items():
            write(path, value)


class Module:
    def __init__(self, ko, params):
        self.name = os.path.basename(ko)[: -len(".ko")].replace("-", "_")
        self.params = ctypes.create_string_buffer(" ".join(params).encode())
        # Where reading it is quick; it is read hundreds of times.
        self.dir = tempfile.mkdtemp(prefix="fail_nth.")
        self.path = shutil.copy(ko, self.dir)
        subprocess.run(["strip", "--strip-debug", self.path], stderr=subprocess.DEVNULL, check=False)
        self.fail_nth = os.open("/proc/self/fail-nth", os.O_RDWR)

    def insmod(self, nth):
        """Load it, and let the nth allocation fail. Answers (errno or 0, how many more it would have taken)."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        nth = str(nth).encode()
        # Nothing but the system call comes between.
        os.pwrite(self.fail_nth, nth, 0)
        ret = libc.syscall(FINIT_MODULE, fd, self.params, 0)
        error = ctypes.get_errno() if ret else 0
        left = int(os.pread(self.fail_nth, 16, 0))
        os.pwrite(self.fail_nth, b"0", 0)
        os.close(fd)
        return error, left

    def rmmod(self):
        def gone():
            ret = libc.syscall(DELETE_MODULE, self.name.encode(), os.O_NONBLOCK)
            if ret and ctypes.get_errno() not in (errno.EAGAIN, errno.EBUSY):
                raise Wrong(f"rmmod {self.name}: {os.strerror(ctypes.get_errno())}")
            return not ret

        wait_for(f"removal of {self.name}", gone)

    def folder(self):
        return f"{LIVEPATCH}/{self.name}"

    def wait_enabled(self):
        if os.path.isdir(self.folder()):
            wait_for(
                f"end of the transition of {self.name}",
                lambda: read(f"{self.folder()}/transition").strip() == "0",
            )

    def disable(self):
        if os.path.isdir(self.folder()):
            write(f"{self.folder()}/enabled", 0)
            wait_for(f"end of {self.name}", lambda: not os.path.exists(self.folder()))


def snapshot(command):
    """What must be the same before and after."""
    modules = sorted(" ".join(line.split()[:3:2]) for line in read("/proc/modules").splitlines())
    patches = sorted(os.listdir(LIVEPATCH))
    probes = sorted(read(f"{DEBUGFS}/kprobes/list").splitlines())
    traced = sorted(
        line.split()[0] for line in read("/sys/kernel/tracing/enabled_functions").splitlines() if line.strip()
    )
    watched = []
    if command:
        done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        watched = done.stdout.decode(errors="replace").splitlines() + [f"status {done.returncode}"]
    return [
        *(f"module {line}" for line in modules),
        *(f"livepatch {line}" for line in patches),
        *(f"kprobe {line}" for line in probes),
        *(f"ftrace {line}" for line in traced),
        *(f"watched {line}" for line in watched),
    ]


def compare(what, wanted, seen):
    if seen != wanted:
        gone = "; ".join(line for line in wanted if line not in seen)
        new = "; ".join(line for line in seen if line not in wanted)
        raise Wrong(f"{what}: missing: {gone or 'nothing'}; too much: {new or 'nothing'}")


class Sweep:
    def __init__(self, args):
        self.args = args
        self.module = Module(args.ko, args.params)
        self.seen = collections.Counter()
        self.off = snapshot(args.watch)
        self.on = None

    def check_off(self, what):
        wait_for(f"{self.module.name} is gone", lambda: not os.path.exists(f"/sys/module/{self.module.name}"))
        seen = snapshot(self.args.watch)
        if seen != self.off:
            # What a kworker still has to do.
            time.sleep(0.5)
            seen = snapshot(self.args.watch)
        compare(what, self.off, seen)

    def unload(self):
        self.module.disable()
        self.module.rmmod()

    def plain(self, what):
        """A load without a fault works."""
        error, _ = self.module.insmod(0)
        if error:
            raise Wrong(f"{what}: {errno.errorcode.get(error, error)}")
        self.module.wait_enabled()
        on = snapshot(self.args.watch)
        if self.on is None:
            self.on = on
        compare(what, self.on, on)
        self.unload()
        self.check_off(what)

    def in_task(self):
        """Each point, the last one first: there the callbacks are, should the time run out."""
        most = 1 << 20
        error, left = self.module.insmod(most)
        if error:
            raise Wrong(f"without a fault: {errno.errorcode.get(error, error)}")
        self.module.wait_enabled()
        self.unload()
        points = most - left
        end = time.monotonic() + self.args.seconds
        for nth in range(points, 0, -self.args.step):
            if time.monotonic() > end:
                print(f"out of time before point={nth}", flush=True)
                break
            self.point(nth)
        return points

    def point(self, nth):
        what = f"point {nth}"
        error, left = self.module.insmod(nth)
        if left and not error:
            # This load had a few less than the one that was counted.
            result = "not_reached"
        elif error:
            result = errno.errorcode.get(error, str(error))
        else:
            result = "loaded"
        self.seen[result] += 1
        print(f"point={nth} result={result}", flush=True)
        if error:
            self.check_off(f"{what}, refused with {result}")
            if self.args.next:
                self.plain(f"{what}, the load after it")
        else:
            self.module.wait_enabled()
            compare(f"{what}, loaded in spite", self.on, snapshot(self.args.watch))
            self.unload()
            self.check_off(f"{what}, loaded in spite, then unloaded")

    def at_completion(self):
        """So many bytes are there, then one allocation fails, in the load or in the unload."""
        attr = f"{DEBUGFS}/failslab"
        points = set()
        end = time.monotonic() + self.args.seconds
        for phase in ("post_patch", "post_unpatch"):
            space = 0
            while time.monotonic() < end:
                faulty = phase == "post_patch"
                if faulty:
                    self.arm(attr, space)
                error, _ = self.module.insmod(0)
                if error:
                    raise Wrong(f"{phase}: {errno.errorcode.get(error, error)}")
                self.module.wait_enabled()
                if not faulty:
                    self.arm(attr, space)
                    self.module.disable()
                hit = read(f"{attr}/times").strip() == "0"
                before = space - int(read(f"{attr}/space"))
                write(f"{attr}/probability", 0)
                self.unload()
                self.check_off(f"{phase}, {before} bytes before")
                if not hit:
                    break
                if (phase, before) not in points:
                    points.add((phase, before))
                    self.seen["went on"] += 1
                    print(f"point={phase}:{before} result=went_on", flush=True)
                space += 32
        return len(points)

    @staticmethod
    def arm(attr, space):
        write(f"{attr}/space", space)
        write(f"{attr}/times", 1)
        write(f"{attr}/probability", 100)

    def run(self):
        self.plain("before the sweep")
        symbol = {"init": "do_init_module", "loader": None, "complete": "klp_complete_transition"}[self.args.sweep]
        injection = Injection(symbol)
        try:
            points = self.at_completion() if self.args.sweep == "complete" else self.in_task()
        finally:
            injection.restore()
            shutil.rmtree(self.module.dir)
        tried = sum(self.seen.values())
        results = " ".join(f"{name.replace(' ', '_')}={count}" for name, count in sorted(self.seen.items()))
        print(f"points={points} tried={tried} {results}", flush=True)
        # After all of them it still works.
        self.module = Module(self.args.ko, self.args.params)
        self.plain("after the sweep")
        shutil.rmtree(self.module.dir)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweep", choices=["init", "loader", "complete"], default="init")
    parser.add_argument("--step", type=int, default=1, help="try only every STEPth point")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no point after so long")
    parser.add_argument("--next", action="store_true", help="a load without a fault after each refused one")
    parser.add_argument("--watch", help="a command whose output must be the same before and after")
    parser.add_argument("ko")
    parser.add_argument("params", nargs="*")
    args = parser.parse_args()
    libc.mlockall(MCL_CURRENT | MCL_FUTURE)
    try:
        Sweep(args).run()
    except Wrong as wrong:
        print(f"wrong: {wrong}", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

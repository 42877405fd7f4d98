#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Load a livepatch again and again, and each time let something else fail: an allocation, or a call.

    fail_nth.py [OPTION…] FILE.ko [PARAMETER=VALUE…]

Each time the load must either succeed, and then do what it does otherwise, or fail with an errno; either
way nothing may be left behind, and a later load must work. "Nothing" is: the loaded modules with their users,
the livepatches, the kprobes, the functions that ftrace has its hands on, and what --watch names:
  file=PATH        what the file holds
  head=PATH        its first line
  netns=NAME:PATH  what the file holds in that network namespace
  gro=NAME         whether that network device has generic receive offload
All of it is read here and no program is started for it: there are thousands of points.

Four sweeps (--sweep, several with a comma between; KIND/STEP tries only every STEPth point, the last one first):
  init      allocations of the task that loads, from the module's init on: the livepatch core, the callbacks
  loader    allocations of the task that loads, from the system call on: the whole module loader as well
  complete  allocations wherever the transition ends, usually a kworker: post_patch and post_unpatch
  calls     calls of the task that loads, of the functions in CALLS; needs --fail-call

The first two count allocations with /proc/self/fail-nth. That counter belongs to one task, so for the third one
the injection's own `space` is used: so many bytes may be allocated, then one allocation fails. Calls fail by the
module fail_call, since the kernel's own fail_function takes only functions that are declared for it.

Prints a line for each point that was tried, and at the end of a sweep one that adds them up, both as KEY=VALUE.
Exit status: 0 all is well; 1 something was left, or did not work; 2 wrong usage.
"""

import argparse
import collections
import ctypes
import errno
import fcntl
import functools
import itertools
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

DEBUGFS = "/sys/kernel/debug"
LIVEPATCH = "/sys/kernel/livepatch"
FINIT_MODULE = 313  # x86-64
DELETE_MODULE = 176
MCL_CURRENT, MCL_FUTURE = 1, 2

# Functions on the way from insmod to "patching complete" that can fail, and what they return then: what the livepatch
# core and callbacks call, and the steps of the module loader. One that a kernel has inlined is told as no_such_function;
# its callers are there.
CALLS = {
    # kernel/livepatch: core.c, patch.c, transition.c
    "klp_init_patch": -errno.ENOMEM,
    "klp_init_object_loaded": -errno.ENOENT,
    "klp_find_object_symbol": -errno.EINVAL,
    "klp_apply_section_relocs": -errno.ENOEXEC,
    "klp_is_patch_compatible": 0,
    "klp_patch_object": -errno.EBUSY,
    "klp_module_coming": -errno.EBUSY,
    "kallsyms_lookup_size_offset": 0,
    "kobject_add": -errno.EEXIST,
    "try_module_get": 0,
    "ftrace_set_filter_ip": -errno.EINVAL,
    "register_ftrace_function": -errno.EBUSY,
    # what callbacks call
    "register_kprobe": -errno.EINVAL,
    "register_netdevice_notifier": -errno.EEXIST,
    "kobject_create_and_add": 0,
    "sysfs_create_file_ns": -errno.EEXIST,
    # kernel/module: in the order of load_module()
    "kernel_read_file": -errno.EIO,
    "apply_relocate_add": -errno.ENOEXEC,
    "module_finalize": -errno.EINVAL,
    "complete_formation": -errno.ENOEXEC,
    "module_enable_text_rox": -errno.ENOMEM,
    "module_enable_rodata_ro": -errno.ENOMEM,
    "module_enable_data_nx": -errno.ENOMEM,
    # notifier_from_errno(-ENOMEM)
    "blocking_notifier_call_chain_robust": 0x8001 + errno.ENOMEM,
    "parse_args": -errno.EINVAL,
    "mod_sysfs_setup": -errno.ENOMEM,
    "module_param_sysfs_setup": -errno.ENOMEM,
    "sysfs_create_group": -errno.EEXIST,
    "module_enable_rodata_ro_after_init": -errno.ENOMEM,
}

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


@functools.cache
def functions():
    """The kernel's own functions, each with the places where one of that name begins."""
    found = collections.defaultdict(list)
    for address, kind, name, *module in map(str.split, open("/proc/kallsyms")):
        if kind in "tTwW" and not module:
            found[name].append(int(address, 16))
    return found


def range_of(symbol):
    """Where the code of a kernel function begins and ends."""
    places = functions()
    start = places[symbol][0]
    return start, min(address for address in itertools.chain(*places.values()) if address > start)


class Injection:
    """failslab and fail_page_alloc, put back at the end."""

    WANTED = {
        # Every allocation may fail, also one that could wait for memory.
        "failslab": {"ignore-gfp-wait": "N", "cache-filter": "N"},
        "fail_page_alloc": {"ignore-gfp-wait": "N", "ignore-gfp-highmem": "N", "min-order": "0"},
    }

    def __init__(self, below, not_below):
        """Faults only below the function `below`, if there is one, and not below `not_below`."""
        self.old = {}
        start, end = range_of(below) if below else (0, 2**64 - 1)
        reject_start, reject_end = range_of(not_below) if not_below else (0, 0)
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
                "reject-start": hex(reject_start),
                "reject-end": hex(reject_end),
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
        self.make_it_fail = os.open("/proc/self/make-it-fail", os.O_RDWR)

    def insmod(self, nth=0, for_fail_call=True):
        """Load it, and let the nth allocation fail. Answers (errno or 0, how many more it would have taken)."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        nth = str(nth).encode()
        # Nothing but the system call comes between.
        os.pwrite(self.make_it_fail, b"1" if for_fail_call else b"0", 0)
        os.pwrite(self.fail_nth, nth, 0)
        ret = libc.syscall(FINIT_MODULE, fd, self.params, 0)
        error = ctypes.get_errno() if ret else 0
        left = int(os.pread(self.fail_nth, 16, 0))
        os.pwrite(self.fail_nth, b"0", 0)
        os.pwrite(self.make_it_fail, b"0", 0)
        os.close(fd)
        return error, left

    def forget(self):
        os.close(self.fail_nth)
        os.close(self.make_it_fail)
        shutil.rmtree(self.dir)

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


class FailCall:
    """Lets the nth call of a function fail, for as long as it is entered. Afterwards `calls` says how many there were."""

    def __init__(self, ko, address, retval, nth):
        self.module = Module(ko, [f"address={address:#x}", f"retval={retval}", f"nth={nth}"])
        self.calls = None

    def __enter__(self):
        error, _ = self.module.insmod(for_fail_call=False)
        if error:
            self.module.forget()
            raise Wrong(f"{self.module.name} {self.module.params.value.decode()}: {os.strerror(error)}")
        return self

    def __exit__(self, *_):
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(log, 0, os.SEEK_END)
        self.module.rmmod()
        self.module.forget()
        while self.calls is None:
            line = os.read(log, 8192).decode(errors="replace")
            if "fail_call: calls: " in line:
                self.calls = int(line.split()[-1])
        os.close(log)


def watched(watch):
    """What a word of --watch has to say now."""
    kind, _, what = watch.partition("=")
    if kind == "file":
        return read(what, "missing")
    if kind == "head":
        return read(what, "missing").partition("\n")[0]
    if kind == "netns":
        name, _, path = what.partition(":")
        with open("/proc/self/ns/net") as here, open(f"/run/netns/{name}") as there:
            os.setns(there.fileno(), os.CLONE_NEWNET)
            try:
                return read(path, "missing")
            finally:
                os.setns(here.fileno(), os.CLONE_NEWNET)
    # ETHTOOL_GGRO by SIOCETHTOOL
    value = ctypes.create_string_buffer(struct.pack("II", 0x2B, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8946, struct.pack("16sP", what.encode(), ctypes.addressof(value)))
    return f"gro {struct.unpack('II', value.raw[:8])[1]}"


def snapshot(watch):
    """What must be the same before and after."""
    modules = sorted(" ".join(line.split()[:3:2]) for line in read("/proc/modules").splitlines())
    patches = sorted(os.listdir(LIVEPATCH))
    probes = sorted(read(f"{DEBUGFS}/kprobes/list").splitlines())
    traced = sorted(
        line.split()[0] for line in read("/sys/kernel/tracing/enabled_functions").splitlines() if line.strip()
    )
    return [
        *(f"module {line}" for line in modules),
        *(f"livepatch {line}" for line in patches),
        *(f"kprobe {line}" for line in probes),
        *(f"ftrace {line}" for line in traced),
        *(f"{word}: {watched(word).strip()}" for word in watch),
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
        self.kind, self.step = None, 1
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

    def check_on(self, what):
        seen = snapshot(self.args.watch)
        if seen != self.on:
            # As above.
            time.sleep(0.5)
            seen = snapshot(self.args.watch)
        compare(what, self.on, seen)

    def unload(self):
        self.module.disable()
        self.module.rmmod()

    def plain(self, what):
        """A load without a fault works."""
        error, _ = self.module.insmod()
        if error:
            raise Wrong(f"{what}: {errno.errorcode.get(error, error)}")
        self.module.wait_enabled()
        if self.on is None:
            # What a kworker still has to do.
            time.sleep(0.5)
            self.on = snapshot(self.args.watch)
        self.check_on(what)
        self.unload()
        self.check_off(what)

    def in_task(self):
        """Each point, or every so many, the last one first: there the callbacks are."""
        most = 1 << 20
        error, left = self.module.insmod(most)
        if error:
            raise Wrong(f"without a fault: {errno.errorcode.get(error, error)}")
        self.module.wait_enabled()
        self.unload()
        points = most - left
        for nth in range(points, 0, -self.step):
            error, left = self.module.insmod(nth)
            # Where some are left, this load had a few less than the one that was counted.
            self.judge(f"point={nth}", error, reached=not left)
        return points

    def in_calls(self):
        """Each call of each function."""
        points = 0
        places = functions()
        for name, retval in CALLS.items():
            if len(places[name]) != 1:
                print(f"call={name} result={'ambiguous' if places[name] else 'no_such_function'}", flush=True)
                continue
            for nth in itertools.count(1):
                with FailCall(self.args.fail_call, places[name][0], retval, nth) as fail:
                    error, _ = self.module.insmod()
                    if not error:
                        self.module.wait_enabled()
                reached = fail.calls >= nth
                if error or reached:
                    points += 1
                    self.judge(f"call={name}:{nth}", error, reached)
                if not reached:
                    if not error:
                        self.unload()
                    break
        return points

    def judge(self, where, error, reached):
        """What a load may be like that met a fault, and what comes after it."""
        if error:
            result = errno.errorcode.get(error, str(error))
            if not reached:
                raise Wrong(f"{where}: refused with {result} before the fault")
        else:
            result = "loaded" if reached else "not_reached"
        self.seen[result] += 1
        print(f"{where} result={result}", flush=True)
        if error:
            self.check_off(f"{where}, refused with {result}")
            if self.args.next and self.kind != "loader":
                self.plain(f"{where}, the load after it")
        else:
            self.module.wait_enabled()
            self.check_on(f"{where}, loaded in spite")
            self.unload()
            self.check_off(f"{where}, loaded in spite, then unloaded")

    def at_completion(self):
        """So many bytes are there, then one allocation fails, in the load or in the unload."""
        attr = f"{DEBUGFS}/failslab"
        points = set()
        for phase in ("post_patch", "post_unpatch"):
            space = 0
            while True:
                faulty = phase == "post_patch"
                if faulty:
                    self.arm(attr, space)
                error, _ = self.module.insmod()
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
        self.plain("before the sweeps")
        for word in self.args.sweep.split(","):
            self.kind, _, step = word.partition("/")
            self.step = int(step or 1)
            self.one(self.kind)
        # After all of them it still works.
        self.plain("after the sweeps")

    def one(self, kind):
        sweep, *where = {
            "init": (self.in_task, "do_init_module", None),
            "loader": (self.in_task, None, None),
            # ftrace needs memory to let go of a function; the core answers with a WARN when there is none.
            "complete": (self.at_completion, "klp_complete_transition", "klp_unpatch_objects"),
            "calls": (self.in_calls, None, None),
        }[kind]
        self.seen.clear()
        injection = Injection(*where)
        try:
            points = sweep()
        finally:
            injection.restore()
        tried = sum(self.seen.values())
        results = " ".join(f"{name.replace(' ', '_')}={count}" for name, count in sorted(self.seen.items()))
        print(f"sweep={kind} every={self.step} points={points} tried={tried} {results}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweep", metavar="KIND[/STEP],…", default="init")
    parser.add_argument("--next", action="store_true", help="a load without a fault after each refused one")
    parser.add_argument("--fail-call", metavar="FILE.ko", help="the module that lets calls fail")
    parser.add_argument("--watch", action="append", default=[], help="what must be the same before and after")
    parser.add_argument("ko")
    parser.add_argument("params", nargs="*")
    args = parser.parse_args()
    if "calls" in args.sweep and not args.fail_call:
        parser.error("--sweep calls needs --fail-call")
    libc.mlockall(MCL_CURRENT | MCL_FUTURE)
    sweep = Sweep(args)
    try:
        sweep.run()
    except Wrong as wrong:
        print(f"wrong: {wrong}", flush=True)
        sys.exit(1)
    finally:
        sweep.module.forget()


if __name__ == "__main__":
    main()

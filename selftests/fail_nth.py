#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Load a livepatch again and again, and each time let something else fail: an allocation, or a call.

    fail_nth.py [OPTION…] FILE.ko [PARAMETER=VALUE…]
    insmod fault.ko calls=$(fail_nth.py --calls)        # before

Each time the load must either succeed, and then do what it does otherwise, or fail with an errno; either
way nothing may be left behind, and a later load must work. "Nothing" is: the loaded modules with their users,
the livepatches, the kprobes, the functions that ftrace has its hands on, and what --watch names:
  file=PATH        what the file holds
  head=PATH        its first line
  netns=NAME:PATH  what the file holds in that network namespace
  gro=NAME         whether that network device has generic receive offload
All of it is read here and no program is started for it: there are thousands of points.

Three sweeps:
  allocations  of the task that loads, from the system call on: the module loader, the livepatch core, the callbacks
  calls        of the task that loads, of the functions in CALLS
  complete     allocations wherever the transition ends, usually a kworker: post_patch and post_unpatch
The module fault does it, and says what it spares.

Prints a line for each point, and at the end of a sweep one that adds them up, both as KEY=VALUE.
Exit status: 0 all is well; 1 something was left, or did not work; 2 wrong usage.
"""

import argparse
import collections
import ctypes
import errno
import fcntl
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
FAULT = "/sys/module/fault/parameters"
FINIT_MODULE = 313  # x86-64
DELETE_MODULE = 176
MCL_CURRENT, MCL_FUTURE = 1, 2

# Functions on the way from insmod to "patching complete" that can fail, and what they return then: what the livepatch
# core and callbacks call, and the steps of the module loader. One that a kernel has inlined, or more than once, is told as
# no_such_function; its callers are there.
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


def calls():
    """What the module fault wants to know of CALLS: where each begins, 0 for one that is not there, or not once."""
    found = collections.defaultdict(set)
    for line in open("/proc/kallsyms"):
        address, kind, name, *module = line.split()
        if kind in "tTwW" and not module and name in CALLS:
            found[name].add(int(address, 16))
    return [sum(found[name]) if len(found[name]) == 1 else 0 for name in CALLS]


class Fault:
    """The module fault: what fails, and when."""

    def __init__(self):
        self.calls = list(map(int, read(f"{FAULT}/calls").split(",")))
        self.files = {
            name: os.open(f"{FAULT}/{name}", os.O_RDWR) for name in ("address", "retval", "pid", "nth")
        }
        self.set(nth=0)

    def set(self, **values):
        for name, value in values.items():
            os.pwrite(self.files[name], str(value).encode(), 0)

    def disarm(self):
        """How many more it would have taken."""
        left = int(os.pread(self.files["nth"], 16, 0))
        self.set(nth=0)
        return left


class Module:
    def __init__(self, ko, params):
        self.name = os.path.basename(ko)[: -len(".ko")].replace("-", "_")
        self.params = ctypes.create_string_buffer(" ".join(params).encode())
        # Where reading it is quick; it is read hundreds of times.
        self.dir = tempfile.mkdtemp(prefix="fail_nth.")
        self.path = shutil.copy(ko, self.dir)
        subprocess.run(["strip", "--strip-debug", self.path], stderr=subprocess.DEVNULL, check=False)

    def insmod(self):
        """Load it. Answers an errno, or 0."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        ret = libc.syscall(FINIT_MODULE, fd, self.params, 0)
        error = ctypes.get_errno() if ret else 0
        os.close(fd)
        return error

    def forget(self):
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


class Sweep:
    def __init__(self, args):
        self.args = args
        self.fault = Fault()
        self.module = Module(args.ko, args.params)
        self.seen = collections.Counter()
        self.off = snapshot(args.watch)
        self.on = None

    def check_off(self, what):
        wait_for(f"{self.module.name} is gone", lambda: not os.path.exists(f"/sys/module/{self.module.name}"))
        self.check(what, self.off)

    def check(self, what, wanted):
        seen = snapshot(self.args.watch)
        if seen != wanted:
            # What a kworker still has to do.
            time.sleep(0.5)
            seen = snapshot(self.args.watch)
        if seen != wanted:
            gone = "; ".join(line for line in wanted if line not in seen)
            new = "; ".join(line for line in seen if line not in wanted)
            raise Wrong(f"{what}: missing: {gone or 'nothing'}; too much: {new or 'nothing'}")

    def unload(self):
        self.module.disable()
        self.module.rmmod()

    def plain(self, what):
        """A load without a fault works."""
        self.load(what)
        self.module.wait_enabled()
        if self.on is None:
            # What a kworker still has to do.
            time.sleep(0.5)
            self.on = snapshot(self.args.watch)
        self.check(what, self.on)
        self.unload()
        self.check_off(what)

    def load(self, what):
        error = self.module.insmod()
        if error:
            raise Wrong(f"{what}: {errno.errorcode.get(error, error)}")

    def insmod(self, nth):
        """Let the nth fail. Answers (errno or 0, how many more it would have taken)."""
        self.fault.set(nth=nth)
        error = self.module.insmod()
        return error, self.fault.disarm()

    def in_task(self):
        """Each point, the last one first: there the callbacks are."""
        most = 1 << 20
        self.fault.set(nth=most)
        self.load("without a fault")
        points = most - self.fault.disarm()
        self.module.wait_enabled()
        self.unload()
        for nth in range(points, 0, -1):
            error, left = self.insmod(nth)
            # Where some are left, this load had a few less than the one that was counted.
            self.judge(f"point={nth}", error, reached=not left)
        return points

    def in_calls(self):
        """Each call of each function."""
        points = 0
        for (name, retval), address in zip(CALLS.items(), self.fault.calls):
            if not address:
                print(f"call={name} result=no_such_function", flush=True)
                continue
            self.fault.set(address=address, retval=retval)
            for nth in itertools.count(1):
                error, left = self.insmod(nth)
                if left and not error:
                    self.module.wait_enabled()
                    self.unload()
                    break
                points += 1
                self.judge(f"call={name}:{nth}", error, reached=not left)
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
            if self.args.next:
                self.plain(f"{where}, the load after it")
        else:
            self.module.wait_enabled()
            self.check(f"{where}, loaded in spite", self.on)
            self.unload()
            self.check_off(f"{where}, loaded in spite, then unloaded")

    def at_completion(self):
        """Each point, of the load and of the unload."""
        points = 0
        for phase in ("post_patch", "post_unpatch"):
            for nth in itertools.count(1):
                if phase == "post_patch":
                    self.fault.set(nth=nth)
                self.load(f"{phase}:{nth}")
                self.module.wait_enabled()
                if phase == "post_unpatch":
                    self.fault.set(nth=nth)
                    self.module.disable()
                left = self.fault.disarm()
                self.unload()
                self.check_off(f"{phase}:{nth}")
                if left:
                    break
                points += 1
                self.seen["went_on"] += 1
                print(f"point={phase}:{nth} result=went_on", flush=True)
        return points

    def run(self):
        self.plain("before the sweeps")
        self.one("allocations", self.in_task, os.getpid())
        self.one("calls", self.in_calls, os.getpid())
        self.one("complete", self.at_completion, 0)
        # After all of them it still works.
        self.plain("after the sweeps")

    def one(self, name, sweep, pid):
        self.seen.clear()
        self.fault.set(pid=pid, address=0, retval=0)
        points = sweep()
        results = " ".join(f"{name}={count}" for name, count in sorted(self.seen.items()))
        print(f"sweep={name} points={points} {results}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--next", action="store_true", help="a load without a fault after each refused one")
    parser.add_argument("--calls", action="store_true", help="print what the module fault wants to know, and end")
    parser.add_argument("--watch", action="append", default=[], help="what must be the same before and after")
    parser.add_argument("ko", nargs="?")
    parser.add_argument("params", nargs="*")
    args = parser.parse_args()
    if args.calls:
        print(*calls(), sep=",")
        return
    if not args.ko or not os.path.isdir(FAULT):
        parser.error("needs a FILE.ko and the module fault")
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

# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# try.py LIST: in a guest, loads livepatches, and takes them away again. A line of LIST has those that are there together, a word
# MODULE.ko[:TARGET...] each, behind the word `busy` where the machine shall do something meanwhile. What the kernel said of each is printed, and the lines of its log where it
# said no.

import ctypes
import errno
import os
import subprocess
import sys
import time

FINIT_MODULE, DELETE_MODULE = 313, 176
# What a transition, or a removal, may take.
PATIENCE = 20

libc = ctypes.CDLL(None, use_errno=True)
log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
os.lseek(log, 0, os.SEEK_END)


def call(number, first, *others):
    first = ctypes.c_long(first) if isinstance(first, int) else first
    others = [ctypes.c_long(word) if isinstance(word, int) else word for word in others]
    failed = libc.syscall(number, first, *others)
    return errno.errorcode[ctypes.get_errno()] if failed else "ok"


def heard():
    """What the kernel has logged since it was last asked."""
    lines = []
    try:
        while True:
            lines.append(os.read(log, 8192).decode(errors="replace").split(";", 1)[-1].split("\n")[0])
    except OSError:
        return lines


def name(path):
    return os.path.basename(path)[:-3].replace("-", "_")


def insert(path):
    if not path.endswith(".ko"):
        return "ok" if subprocess.run(["modprobe", path]).returncode == 0 else "ENOENT"
    file = os.open(path, os.O_RDONLY)
    said = call(FINIT_MODULE, file, b"", 0)
    os.close(file)
    return said


def wait(done):
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def settled(sysfs):
    try:
        with open(sysfs + "/transition") as file:
            return file.read().strip() == "0"
    except FileNotFoundError:
        return True


def remove(path):
    sysfs = "/sys/kernel/livepatch/" + name(path)
    if os.path.exists(sysfs):
        with open(sysfs + "/enabled", "w") as file:
            file.write("0")
        wait(lambda: not os.path.exists(sysfs))
    said = []
    wait(lambda: said.append(call(DELETE_MODULE, name(path).encode(), os.O_NONBLOCK)) or said[-1] not in ("EAGAIN", "EBUSY"))
    return said[-1]


def act():
    for command in "ip link set lo up", "ping -c 2 -i 0.2 127.0.0.1", "find /proc/self /sys/class -maxdepth 2", "dd if=/dev/zero of=/tmp/x bs=64k count=64", "sync":
        subprocess.run(command.split(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


for line in open(sys.argv[1]):
    word, *group = [word.split(":") for word in line.split()]
    there = []
    for path, *targets in group:
        for target in targets:
            print("target", target, insert(target), flush=True)
        heard()
        said = insert(path)
        if said == "ok":
            there.append(path)
            if not wait(lambda: settled("/sys/kernel/livepatch/" + name(path))):
                said = "stuck"
        why = " | ".join(line for line in heard() if said != "ok")
        print("loaded", path, said, why, flush=True)
    if word == ["busy"]:
        act()
    for path in there:
        print("removed", path, remove(path), flush=True)
    for target in {target for _, *targets in group for target in targets if target.endswith(".ko")}:
        remove(target)

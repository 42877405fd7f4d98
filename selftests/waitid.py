#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Call waitid() by the entry of 64-bit programs (`native`), of 32-bit ones (`ia32`) or of x32
ones (`x32`). A 64-bit program reaches them all: by `int $0x80`, and by a bit in the call's number.

    waitid.py lose ENTRY...         let each reap a child without being able to write down which
    waitid.py sleep ENTRY [bad]     print a child's number, sleep in the call until it is killed,
                                    then print what the call said and what became of the child;
                                    `bad`: where the call cannot write down which it was
    waitid.py verdicts ENTRY...     print what the calls say, a line each, and, if they could, what
                                    they wrote, for good and bad addresses to write to and for
                                    other wrong arguments
    waitid.py fates ENTRY...        print what they say and what becomes of the child, a line each,
                                    for such addresses
    waitid.py work STOP ENTRY...    have children and wait for them until the file STOP is there;
                                    STOP.count holds how many rounds it were. Ends with an error
                                    when a child is lost

Exit status: 0; 1 for an error. Needs nothing but x86-64 and the standard library.
"""

import ctypes
import errno
import os
import signal
import sys

NR_WAITID, NR_X32_WAITID = 247, 0x40000000 | 529
PAGE = 4096
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
MAP_PRIVATE_ANONYMOUS, MAP_32BIT = 0x22, 0x40
GOOD_STATUS = 7
UPPER = 0x5A5A_0000_0000  # of a register that a 32-bit call reads the lower half of

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def pages(count, low=True, prot=PROT_READ | PROT_WRITE):
    """New pages, below 4 GB if `low`; the last of several is not accessible."""
    flags = MAP_PRIVATE_ANONYMOUS | (MAP_32BIT if low else 0)
    start = libc.mmap(None, count * PAGE, prot, flags, -1, 0)
    if start in (None, ctypes.c_void_p(-1).value):
        sys.exit("waitid.py: no memory")
    if count > 1 and libc.mprotect(start + (count - 1) * PAGE, PAGE, 0):
        sys.exit("waitid.py: mprotect() failed")
    return start


# long call(unsigned long args[6]): waitid() of the table of 32-bit programs
CODE = bytes.fromhex(
    "53 55"  # push %rbx; push %rbp
    "4889f8"  # mov %rdi, %rax
    "488b18 488b4808 488b5010"  # mov (%rax), %rbx; 8(%rax), %rcx; 16(%rax), %rdx
    "488b7018 488b7820 488b6828"  # mov 24(%rax), %rsi; 32(%rax), %rdi; 40(%rax), %rbp
    "b81c010000"  # mov $284, %eax
    "cd80"  # int $0x80
    "5d 5b c3"  # pop %rbp; pop %rbx; ret
)
text = pages(1, prot=PROT_READ | PROT_WRITE | PROT_EXEC)
ctypes.memmove(text, CODE, len(CODE))
int80 = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(text)


def syscall(number, *args):
    result = libc.syscall(number, *[ctypes.c_ulong(arg) for arg in (*args, 0)])
    return -ctypes.get_errno() if result == -1 else result


def ia32(*args):
    registers = (ctypes.c_ulong * 6)(*args, 0, 0)
    return int80(ctypes.addressof(registers))


CALLS = {
    "native": lambda *args: syscall(NR_WAITID, *args),
    "ia32": ia32,
    "x32": lambda *args: syscall(NR_X32_WAITID, *args),
}
TITLE = {"native": "waitid(), 64 bit", "ia32": "waitid(), 32 bit", "x32": "waitid(), x32"}
# Where a number of the child's stands, in units of 4 bytes.
PID = {"native": 4, "ia32": 3, "x32": 3}


def name(result):
    return errno.errorcode[-result] if result < 0 else str(result)


def child(function):
    pid = os.fork()
    if pid == 0:
        os._exit(function() or 0)
    return pid


def dead_child():
    """A child that has ended and can be waited for."""
    pid = child(lambda: GOOD_STATUS)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def reap(pid):
    """What the kernel still knows of a child."""
    try:
        reaped, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return "lost"
    if not reaped:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return "alive"
    return "known" if os.waitstatus_to_exitcode(status) == GOOD_STATUS else "wrong"


def lose(entries):
    for entry in entries:
        pid = dead_child()
        result = CALLS[entry](os.P_PID, pid, 1, os.WEXITED)
        print(f"{TITLE[entry]}: {name(result)}, the child: {reap(pid)}")


def sleep(entry, bad=None):
    info = pages(1)
    pid = child(signal.pause)
    print(pid, flush=True)
    result = CALLS[entry](os.P_PID, pid, 1 if bad else info, os.WEXITED)
    print(f"{TITLE[entry]}, asleep: {name(result)}, the child: ", end="")
    if bad:
        print(reap(pid))
        return
    field = ctypes.cast(info, ctypes.POINTER(ctypes.c_int))
    seen = [field[0], field[2], field[PID[entry]], field[PID[entry] + 2]]
    killed = [signal.SIGCHLD, os.CLD_KILLED, pid, signal.SIGKILL]
    print("known" if seen == killed else f"{seen}, not {killed}")


def addresses():
    """Good and bad ones to write to."""
    info = pages(2)
    high = pages(2, low=False)
    return info, {
        "good": info, "null": 0, "unmapped": 1, "read-only": pages(1, prot=PROT_READ),
        "high": high, "high-end": high + PAGE - 20, "kernel": 0xFFFF_8880_0000_0000,
        "gap": 0x8000_0000_0000, "last": (1 << 64) - PAGE, "wrap": (1 << 64) - 20,
        "wrap-32": (1 << 32) - 20, "below-32": (1 << 32) - 28,
        "upper": info | UPPER, "upper-bad": 1 | UPPER, "high-unmapped": high & ~0xFFFF_FFFF | 1,
    }


def verdicts(entries):
    info, others = addresses()
    end = info + PAGE
    dead, alive = dead_child(), child(signal.pause)
    look = os.WEXITED | os.WNOWAIT

    def verdict(what, entry, which, pid, infop, options):
        ctypes.memset(info, 0xAA, PAGE)
        result = CALLS[entry](which, pid, infop, options)
        start = end - 160 if what.startswith("end") else info
        wrote = bytearray(ctypes.string_at(start, 160))
        # The number of the child is another one each time. Other bytes may look like it: 170 does, beside 0xAA.
        field = (infop & 0xFFFF_FFFF) - start + 4 * PID[entry]
        if wrote[field:field + 4] == dead.to_bytes(4, "little"):
            wrote[field:field + 4] = b"\xcc" * 4
        print(entry, what, name(result), "" if name(result) == "EFAULT" else wrote.hex())

    for entry in entries:
        for distance in range(0, 136):
            verdict(f"end-{distance}", entry, os.P_PID, dead, end - distance, look)
        for what, infop in others.items():
            for case, arguments in {
                "dead": (os.P_PID, dead, look), "alive": (os.P_PID, alive, os.WEXITED | os.WNOHANG),
                "nobody": (os.P_PID, 1, look), "which": (99, dead, look), "options": (os.P_PID, dead, 0),
                "pid": (os.P_PID, 0, look),
            }.items():
                verdict(f"{what}:{case}", entry, arguments[0], arguments[1], infop, arguments[2])
    os.kill(alive, signal.SIGKILL)
    os.waitpid(alive, 0)
    print("the child:", reap(dead))


def fates(entries):
    info, others = addresses()
    others |= {f"end-{distance}": info + PAGE - distance for distance in range(0, 32)}
    gone = pages(1)

    def fate(entry, what, infop, pid):
        result = CALLS[entry](os.P_PID, pid, infop, os.WEXITED)
        print(f"{entry} {what} {name(result)}: {reap(pid)}")

    for entry in entries:
        libc.mprotect(gone, PAGE, PROT_READ | PROT_WRITE)
        # What a check remembers must not count: both are there already, since making one waits by this call, too.
        first, second = dead_child(), dead_child()
        if CALLS[entry](os.P_PID, first, gone, os.WEXITED):
            sys.exit("waitid.py: nothing works")
        libc.mprotect(gone, PAGE, PROT_READ)
        fate(entry, "gone", gone, second)
        for what, infop in others.items():
            fate(entry, what, infop, dead_child())


def work(stop, entries):
    info = pages(1)
    count = 0
    while not os.path.exists(stop):
        for entry in entries:
            call = CALLS[entry]
            for pid in [child(lambda: GOOD_STATUS), dead_child()]:
                result = call(os.P_PID, pid, info, os.WEXITED)
                status = ctypes.cast(info, ctypes.POINTER(ctypes.c_int))[PID[entry] + 2]
                if (result, status) != (0, GOOD_STATUS):
                    sys.exit(f"waitid.py: {TITLE[entry]}: {name(result)}, status {status}")
            pid = dead_child()
            result = call(os.P_PID, pid, 1, os.WEXITED)
            if name(result) != "EFAULT":
                sys.exit(f"waitid.py: {TITLE[entry]}: {name(result)}, not EFAULT")
            reap(pid)
        count += 1
        with open(stop + ".count", "w") as file:
            file.write(f"{count}\n")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["lose", *entries] if entries:
            lose(entries)
        case ["sleep", entry]:
            sleep(entry)
        case ["sleep", entry, "bad"]:
            sleep(entry, bad=True)
        case ["verdicts", *entries] if entries:
            verdicts(entries)
        case ["fates", *entries] if entries:
            fates(entries)
        case ["work", stop, *entries] if entries:
            work(stop, entries)
        case _:
            sys.exit(__doc__)

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Sleep in a page fault of the kernel: waitid() writes what a child has used into a page that
nobody provides.

    fault.py GO     print the number of the process, call waitid(), provide the page when the
                    file GO is there, and print what the call said

Exit status: 0; 1 where there is no userfaultfd(2). Needs nothing but x86-64 and the standard
library.
"""

import ctypes
import fcntl
import mmap
import os
import struct
import sys
import threading
import time

NR_WAITID, NR_USERFAULTFD = 247, 323
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_ZEROPAGE = 0xC018AA3F, 0xC020AA00, 0xC020AA04
UFFD_API, MODE_MISSING = 0xAA, 1
PAGE = 4096

libc = ctypes.CDLL(None, use_errno=True)
memory = mmap.mmap(-1, PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
page = ctypes.addressof(ctypes.c_char.from_buffer(memory))
info = ctypes.create_string_buffer(128)


def provide(fault, go):
    while not os.path.exists(go):
        time.sleep(0.1)
    fcntl.ioctl(fault, UFFDIO_ZEROPAGE, struct.pack("4Q", page, PAGE, 0, 0))


def main(go):
    fault = libc.syscall(NR_USERFAULTFD, os.O_CLOEXEC)
    if fault < 0:
        sys.exit(f"fault.py: no userfaultfd: {os.strerror(ctypes.get_errno())}")
    fcntl.ioctl(fault, UFFDIO_API, struct.pack("3Q", UFFD_API, 0, 0))
    fcntl.ioctl(fault, UFFDIO_REGISTER, struct.pack("4Q", page, PAGE, MODE_MISSING, 0))
    child = os.fork()
    if child == 0:
        os._exit(0)
    threading.Thread(target=provide, args=(fault, go), daemon=True).start()
    print(os.getpid(), flush=True)
    result = libc.syscall(NR_WAITID, os.P_PID, child, info, os.WEXITED, ctypes.c_void_p(page))
    print("waitid():", "0" if result == 0 else os.strerror(ctypes.get_errno()), flush=True)


main(*sys.argv[1:])

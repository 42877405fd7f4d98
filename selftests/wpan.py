#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Let a radio of mac802154_hwsim join a network, and be the coordinator that it asks.

    ./wpan.py monitor wpan1 mon1              the radio of wpan1 sends what it is given, by mon1
    ./wpan.py join wpan0 mon1 1111 2222       wpan0 asks a coordinator, and mon1 answers at once:
                                              your short address is 1111; it is 2222
    ./wpan.py join wpan0 mon1 2222@6 1111     the first comes from the address 6, which nobody asked
    ./wpan.py join wpan0 mon1 1111/1          the status is 1: no room
    ./wpan.py new                             prints the number of a new radio
    ./wpan.py link 1 2                        what radio 1 sends arrives at radio 2
    ./wpan.py del 2                           gives radio 2 back

`join` prints one line, `wpan0 is 1111` or `wpan0: Connection timed out`, and leaves the
network again. Both interfaces must be up.

All answers are sent before the worker that reads them runs, if there is but one
processor. --after FILE waits with them until FILE is there, --asked FILE makes that file when the
request is out: so that a test can do something meanwhile.

Needs root and the standard library.
"""

import argparse
import os
import socket
import struct
import sys
import time

GET_INTERFACE, NEW_INTERFACE, ASSOCIATE, DISASSOCIATE = 5, 7, 40, 41  # enum nl802154_commands
WPAN_PHY, IFINDEX, IFNAME, IFTYPE, PAN_ID, SHORT_ADDR, EXTENDED_ADDR = 1, 3, 4, 5, 9, 10, 23  # enum nl802154_attrs
MONITOR = 1  # enum nl802154_iftype
NEW_RADIO, DEL_RADIO, NEW_EDGE = 3, 4, 8  # mac802154_hwsim.h
RADIO_ID, RADIO_EDGE, ENDPOINT_ID = 1, 2, 1
NLA_F_NESTED = 0x8000
PAN, COORDINATOR = 0xBEEF, 0xC0


def attr(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attrs(data):
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        found[kind & 0x3FFF] = data[4:size]
        data = data[(size + 3) & ~3 :]
    return found


class Family:
    """A family of generic netlink; a request that fails raises OSError."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        self.socket.bind((0, 0))
        self.id = 16  # GENL_ID_CTRL
        self.id = struct.unpack("=H", self.ask(3, attr(2, name.encode() + b"\0"))[1])[0]

    def ask(self, command, data=b""):
        message = struct.pack("=BBH", command, 1, 0) + data
        self.socket.send(struct.pack("=IHHII", 16 + len(message), self.id, 5, 1, 0) + message)
        answer, result = {}, None
        while result is None:
            got = self.socket.recv(65536)
            while len(got) >= 16:
                size, kind = struct.unpack_from("=IH", got)
                if kind == 2:  # NLMSG_ERROR, also the acknowledgement
                    result = struct.unpack_from("=i", got, 16)[0]
                else:
                    answer = attrs(got[20:size])
                got = got[(size + 3) & ~3 :]
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return answer or result


def address(radio):
    with open(f"/sys/class/net/{radio}/address") as file:
        return int(file.read().replace(":", ""), 16)


def index(name):
    return attr(IFINDEX, struct.pack("=I", socket.if_nametoindex(name)))


def sent(radio):
    with open(f"/sys/class/net/{radio}/statistics/tx_packets") as file:
        return int(file.read())


def frame(to, text):
    """An association response, as IEEE 802.15.4 has it."""
    text, _, sender = text.partition("@")
    short, _, status = text.partition("/")
    return struct.pack(
        "<HBHQQBHB",
        0xCC43,  # a MAC command inside one PAN, both addresses extended
        0,
        0xFFFF,
        to,
        int(sender, 16) if sender else COORDINATOR,
        2,
        int(short, 16),
        int(status or "0", 16),
    )


def join(args):
    frames = [frame(address(args.radio), text) for text in args.answers]
    me, peer = index(args.radio), attr(EXTENDED_ADDR, struct.pack("<Q", COORDINATOR))
    before = sent(args.radio)
    child = os.fork()
    if child == 0:
        family = Family("nl802154")
        try:
            family.ask(ASSOCIATE, me + attr(PAN_ID, struct.pack("<H", PAN)) + peer)
            seen = struct.unpack("<H", family.ask(GET_INTERFACE, me)[SHORT_ADDR])[0]
            print(f"{args.radio} is {seen:04x}", flush=True)
            family.ask(DISASSOCIATE, me + peer)
        except OSError as error:
            print(f"{args.radio}: {error.strerror}", flush=True)
        os._exit(0)
    while sent(args.radio) == before:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.01)
    if args.asked:
        open(args.asked, "w").close()
    while args.after and not os.path.exists(args.after):
        time.sleep(0.01)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((args.monitor, 0xF6))
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
        for data in frames:
            raw.send(data)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.waitpid(child, 0)


def monitor(args):
    family = Family("nl802154")
    phy = family.ask(GET_INTERFACE, index(args.radio))[WPAN_PHY]
    kind = attr(IFTYPE, struct.pack("=I", MONITOR))
    family.ask(NEW_INTERFACE, attr(WPAN_PHY, phy) + attr(IFNAME, args.name.encode() + b"\0") + kind)


def new(args):
    print(Family("MAC802154_HWSIM").ask(NEW_RADIO))


def delete(args):
    Family("MAC802154_HWSIM").ask(DEL_RADIO, attr(RADIO_ID, struct.pack("=I", args.id)))


def link(args):
    """Lets radio FROM be heard by radio TO."""
    edge = attr(RADIO_EDGE | NLA_F_NESTED, attr(ENDPOINT_ID, struct.pack("=I", args.to)))
    Family("MAC802154_HWSIM").ask(NEW_EDGE, attr(RADIO_ID, struct.pack("=I", args.radio)) + edge)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("join")
    command.set_defaults(run=join)
    command.add_argument("radio")
    command.add_argument("monitor")
    command.add_argument("answers", nargs="*")
    command.add_argument("--asked")
    command.add_argument("--after")
    command = commands.add_parser("monitor")
    command.set_defaults(run=monitor)
    command.add_argument("radio")
    command.add_argument("name")
    commands.add_parser("new").set_defaults(run=new)
    command = commands.add_parser("del")
    command.set_defaults(run=delete)
    command.add_argument("id", type=int)
    command = commands.add_parser("link")
    command.set_defaults(run=link)
    command.add_argument("radio", type=int)
    command.add_argument("to", type=int)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    sys.exit(main())

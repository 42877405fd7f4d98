#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Send in-window SYNs into an established loopback connection of this network
namespace, and tell how many challenge ACKs (RFC 5961) the kernel gave for them.

    ip netns exec NAME ./syn_flood.py --count 700 --bursts 3

With --half-open it sends in-window RSTs to a connection that is still being set up
instead: the kernel answers these in a function of its own. For that the namespace must
have a route to 192.0.2.0/24 through its loopback.

It prints one line for each burst:

    sent=700 arrived=700 challenge_ack=112 skipped=0 windows=2 microseconds=231000
    sent=…

and in the end `alive=1`, if the connection still carries data both ways (if it is still
being set up).

  arrived        how many met the check (TCPSYNChallenge; if half open InSegs - OutSegs): a
                 loopback queue may overflow, so reckon with this, not with `sent`
  challenge_ack  how many were answered (TCPChallengeACK)
  skipped        how many the limit of the socket itself held back
                 (TCPACKSkippedChallenge; net.ipv4.tcp_invalid_ratelimit)
  windows        at most so many seconds of the kernel's clock did the burst touch

The kernel draws a budget of ACKs anew for each second of jiffies. The phase of those
seconds is not known here, so `windows` is the most that there can have been in the time
that the burst took: what a test computes from it holds on a slow machine too. Before each
burst comes a pause of more than a second, so that none begins in a window already in use.

With --limits it sends one packet at each of these limits, and prints what the module test_klp_challenge saw of it:

    limit 100: draws 1 least 50 choices 100

SIGTERM ends a burst early: what was sent until then is counted and told as ever.

Exit status: 0; 1 for an error; 3 if the machine is too slow for --max-windows.

Needs root (raw socket, TCP_REPAIR to read the sequence numbers) and the standard library.
"""

import argparse
import signal
import socket
import struct
import sys
import time

# From linux/tcp.h; Python's socket module does not have them.
TCP_REPAIR = 19
TCP_REPAIR_QUEUE = 20
TCP_QUEUE_SEQ = 21
TCP_RECV_QUEUE = 1
TCP_REPAIR_ON = 1
TCP_REPAIR_OFF_NO_WP = -1

SYN = 0x02
RST = 0x04
SYN_RECV = "03"  # in /proc/net/tcp

LOOPBACK = "127.0.0.1"
# From a range that is set aside for documentation: nobody answers from there.
STRANGER = ("192.0.2.1", 40000)
COUNTERS = ("TCPChallengeACK", "TCPACKSkippedChallenge")
LIMIT = "/proc/sys/net/ipv4/tcp_challenge_ack_limit"
DRAWS = "/proc/test_klp_challenge"


class Stopped(Exception):
    """SIGTERM came."""


def stop(_signal, _frame):
    """The handler of SIGTERM."""
    raise Stopped


def read_table(file, prefix):
    """The counters of one protocol in /proc/net/netstat or /proc/net/snmp."""
    with open(f"/proc/self/net/{file}", encoding="ascii") as lines:
        names, values = (line.split() for line in lines if line.startswith(prefix + ":"))
    return dict(zip(names, values))


def counters(half_open):
    """What counts in this namespace: [arrived, challenge ACKs, skipped]."""
    extended = read_table("netstat", "TcpExt")
    if half_open:
        # What the kernel sends to the stranger comes back by loopback.
        tcp = read_table("snmp", "Tcp")
        arrived = int(tcp["InSegs"]) - int(tcp["OutSegs"])
    else:
        arrived = extended["TCPSYNChallenge"]
    return [int(arrived)] + [int(extended[name]) for name in COUNTERS]


def connect():
    """Both ends of a connection: (client, server)."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    for end in client, server:
        end.settimeout(30)
    return client, server


def expected_seq(sock):
    """The sequence number that the socket expects next from its peer."""
    level = socket.IPPROTO_TCP
    sock.setsockopt(level, TCP_REPAIR, TCP_REPAIR_ON)
    sock.setsockopt(level, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE)
    seq = sock.getsockopt(level, TCP_QUEUE_SEQ) & 0xFFFFFFFF
    # Without a window probe: nothing may be sent on this connection but by us.
    sock.setsockopt(level, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)
    return seq


def checksum(data):
    """The Internet checksum."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source, target, seq, flag):
    """An IPv4 packet with a bare SYN or RST; the kernel fills in the IP checksum."""
    from_ip, to_ip = socket.inet_aton(source[0]), socket.inet_aton(target[0])

    def tcp(check):
        # A header of 5 words, a window of 1024.
        return struct.pack("!HHIIBBHHH", source[1], target[1], seq, 0, 5 << 4, flag, 1024, check, 0)

    pseudo = struct.pack("!4s4sBBH", from_ip, to_ip, 0, socket.IPPROTO_TCP, len(tcp(0)))
    segment = tcp(checksum(pseudo + tcp(0)))
    header = struct.pack(
        "!BBHHHBBH4s4s",
        4 << 4 | 5, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0, from_ip, to_ip,
    )
    return header + segment


def burst(raw, data, count, half_open):
    """Send a packet `count` times; what arrived and what came of it, as a dictionary."""
    before = counters(half_open)
    start = time.monotonic()
    send = raw.sendto
    sent = 0
    try:
        for sent in range(1, count + 1):
            send(data, (LOOPBACK, 0))
    except Stopped:
        pass
    # The last ones may still be in a softirq: read until all arrived or nothing moves.
    after = counters(half_open)
    for _ in range(50):
        if after[0] - before[0] >= sent:
            break
        time.sleep(0.02)
        last, after = after, counters(half_open)
        if after == last:
            break
    elapsed = time.monotonic() - start
    arrived, acks, skipped = (b - a for a, b in zip(before, after))
    return {
        "sent": sent,
        "arrived": arrived,
        "challenge_ack": acks,
        "skipped": skipped,
        # t seconds touch at most floor(t) + 1 whole seconds and a begun one.
        "windows": int(elapsed) + 2,
        "microseconds": int(elapsed * 1e6),
    }


class Established:
    """A connection, and the packet to send at it."""

    def __init__(self, _raw):
        self.client, self.server = connect()
        # In the window, and not the very next byte.
        seq = (expected_seq(self.server) + 10) & 0xFFFFFFFF
        self.data = packet(self.client.getsockname(), self.server.getsockname(), seq, SYN)

    def alive(self):
        """Whether the connection still carries data both ways."""
        ends = (self.client, self.server)
        for sender, receiver in (ends, ends[::-1]):
            sender.sendall(b"still here")
            if receiver.recv(64) != b"still here":
                return False
        return True


class HalfOpen:
    """A connection that a stranger asked for and never completes, and the packet."""

    def __init__(self, raw):
        self.listener = socket.create_server((LOOPBACK, 0))
        target = self.listener.getsockname()
        isn = 1000
        raw.sendto(packet(STRANGER, target, isn, SYN), (LOOPBACK, 0))
        for _ in range(100):
            if self.alive():
                break
            time.sleep(0.05)
        else:
            sys.exit("no half-open connection: is there a route to 192.0.2.0/24 by loopback?")
        self.data = packet(STRANGER, target, isn + 11, RST)

    def alive(self):
        """Whether it is still being set up."""
        port = f":{self.listener.getsockname()[1]:04X}"
        with open("/proc/self/net/tcp", encoding="ascii") as lines:
            rows = [line.split() for line in lines]
        return any(row[1].endswith(port) and row[3] == SYN_RECV for row in rows)


def draw_at(limit, raw, connection):
    """How the budget for that limit is drawn."""
    for path, value in (LIMIT, limit), (DRAWS, "1"):
        with open(path, "w", encoding="ascii") as file:
            file.write(value)
    result = burst(raw, connection.data, 1, False)
    if result["arrived"] != 1:
        sys.exit(f"limit {limit}: {result['arrived']} packets arrived")
    with open(DRAWS, encoding="ascii") as file:
        print(f"limit {limit}: {file.read()}", end="")


def main():
    """Parse the command line, send the bursts, print the counters."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=700, help="packets in a burst")
    parser.add_argument("--bursts", type=int, default=1, help="how many bursts")
    parser.add_argument(
        "--max-windows", type=int, default=0,
        help="repeat a burst that took longer, up to ten times in all",
    )
    parser.add_argument(
        "--half-open", action="store_true", help="RSTs to a half-open connection instead",
    )
    parser.add_argument("--limits", help="one packet at each of these instead, with commas between them")
    args = parser.parse_args()

    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    connection = HalfOpen(raw) if args.half_open else Established(raw)

    if args.limits:
        for limit in args.limits.split(","):
            draw_at(limit, raw, connection)
        args.bursts = 0

    signal.signal(signal.SIGTERM, stop)
    done = slow = 0
    try:
        while done < args.bursts:
            # A new second of jiffies, however those run: a tick is 10 ms at most.
            time.sleep(1.05)
            result = burst(raw, connection.data, args.count, args.half_open)
            if args.max_windows and result["windows"] > args.max_windows:
                slow += 1
                if slow == 10:
                    took = result["microseconds"]
                    print(f"{args.count} packets take {took} us: too slow", file=sys.stderr)
                    return 3
                continue
            done += 1
            print(*(f"{key}={value}" for key, value in result.items()), flush=True)
    except Stopped:
        pass

    print(f"alive={int(connection.alive())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

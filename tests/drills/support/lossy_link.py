"""A link between two network namespaces: lossy_link.py NAMESPACE ADDRESS NAMESPACE ADDRESS SEED

It says "ready" when both ends are up. Then it obeys, line by line: "lose PERCENT", with a delay of 5 to 25 ms for each
packet, so that some overtake others; "cut" and "mend"; "tell", answered with the packets that it has passed on and lost.
"""

import ctypes
import fcntl
import heapq
import os
import random
import selectors
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PACKET_BYTES_MAX = 65_536
DEVICE = "drill"


def open_end(namespace, own, other):
    """A device of a namespace, whose packets this process reads and writes."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", "rb") as place:
        if libc.setns(place.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"{namespace} cannot be entered")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    for command in (
        f"link set lo up",
        f"addr add {own} peer {other} dev {DEVICE}",
        f"link set {DEVICE} up",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    return device


class Link:
    """Both ends, and what is between them."""

    def __init__(self, ends, seed):
        self.other = {ends[0]: ends[1], ends[1]: ends[0]}
        self.random = random.Random(seed)
        self.under_way = []
        self.count = self.passed = self.lost = 0
        self.loss = 0.0
        self.is_cut = False

    def take(self, end):
        """Reads the packets that wait at an end."""
        while True:
            try:
                packet = os.read(end, PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            if self.is_cut or self.random.random() < self.loss:
                self.lost += 1
                continue
            delay = self.random.uniform(0.005, 0.025) if self.loss > 0 else 0
            self.count += 1
            heapq.heappush(self.under_way, (time.monotonic() + delay, self.count, self.other[end], packet))

    def deliver(self):
        """Hands on what has been under way for long enough. Gives how long it is to the next."""
        while self.under_way:
            wait = self.under_way[0][0] - time.monotonic()
            if wait > 0:
                return wait
            _, _, end, packet = heapq.heappop(self.under_way)
            try:
                os.write(end, packet)
                self.passed += 1
            except OSError:
                self.lost += 1
        return None

    def obey(self, line):
        """Does as it is told."""
        word, *rest = line.split()
        if word == "lose":
            self.loss = float(rest[0]) / 100
        elif word == "tell":
            print(self.passed, self.lost, flush=True)
        else:
            self.is_cut = word == "cut"


def main():
    first, first_address, second, second_address, seed = sys.argv[1:]
    ends = [open_end(first, first_address, second_address), open_end(second, second_address, first_address)]
    link = Link(ends, int(seed))
    selector = selectors.DefaultSelector()
    for source in (*ends, sys.stdin):
        selector.register(source, selectors.EVENT_READ)
    print("ready", flush=True)
    wait = None
    while True:
        for key, _ in selector.select(wait):
            if key.fileobj is not sys.stdin:
                link.take(key.fileobj)
            elif line := sys.stdin.readline():
                link.obey(line)
            else:
                return
        wait = link.deliver()


main()

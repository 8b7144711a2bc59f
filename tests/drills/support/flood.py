"""Connects and resets at once, over and over: flood.py PORT PER_SECOND. It says "begun", and at "end" on standard input how
many connections there were, and in how many seconds."""

import select
import socket
import struct
import sys
import time

RESET = struct.pack("ii", 1, 0)
PIECE = 64


def connect(port):
    """One connection, which says nothing."""
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    stream.connect(("127.0.0.1", port))
    stream.close()


def main():
    port, per_second = int(sys.argv[1]), int(sys.argv[2])
    print("begun", flush=True)
    begun, made, wait = time.monotonic(), 0, 0
    while not select.select([sys.stdin], [], [], wait)[0]:
        for _ in range(PIECE):
            connect(port)
        made += PIECE
        wait = max(0, made / per_second - (time.monotonic() - begun))
    print(made, time.monotonic() - begun, flush=True)


main()

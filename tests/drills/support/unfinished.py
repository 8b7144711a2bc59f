"""Connections that begin what they do not finish: unfinished.py PORT messages|heads COUNT BYTES. Each sends so many bytes of a
WebSocket message, or of the head of a request, and stays. They say "begun" when all have tried; and at "count" on standard
input, how many of them the server has let go, or has not let in."""

import resource
import socket
import struct
import sys

HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: drill\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# All of 127.0.0.0/8 is this machine, and each address has ports of its own.
CLIENTS_PER_ADDRESS = 10_000


def connect(port, number):
    """A connection, which waits for nothing longer than it must."""
    stream = socket.socket()
    stream.settimeout(5)
    stream.bind((f"127.0.1.{1 + number // CLIENTS_PER_ADDRESS}", 0))
    stream.connect(("127.0.0.1", port))
    return stream


def begin_message(stream, count):
    """A session, and a part of a message that is to be twice as long."""
    stream.sendall(HANDSHAKE)
    if not stream.recv(4096).startswith(b"HTTP/1.1 101"):
        raise ConnectionError("not let in")
    stream.sendall(struct.pack("!BBHI", 0x81, 0x80 | 126, 2 * count, 0) + b"4" * count)


def begin_head(stream, count):
    """A part of a head."""
    line = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nX: "
    stream.sendall(line + b"x" * (count - len(line)))


def is_gone(stream):
    """Whether the server has ended a connection, whatever it had said before."""
    stream.setblocking(False)
    try:
        while stream.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def main():
    port, kind, count, size = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    begin = {"messages": begin_message, "heads": begin_head}[kind]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    streams, kept_out = [], 0
    for number in range(count):
        stream = None
        try:
            stream = connect(port, number)
            begin(stream, size)
            streams.append(stream)
        except OSError:
            kept_out += 1
            if stream:
                stream.close()
    print("begun", flush=True)
    for _ in sys.stdin:
        print(kept_out + sum(is_gone(stream) for stream in streams), flush=True)


main()

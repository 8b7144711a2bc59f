"""Clients that join `/` and then read nothing: stalled.py PORT COUNT.

They say "ready" when all have joined. Then they do what standard input says, line by line: at "hoard BYTES" each asks for so
much to be sent back to it, as fast as it is taken, and they say "done"; at "flood SECONDS" the first of them sends events that
nobody answers, as fast as they are taken, and they say how many a second; at "count" they read what there is, and say how many
of them the server has let go; at "reset" they reset their connections, and say how many these are.
"""

import os
import socket
import struct
import sys
import time

RECEIVE_BUFFER_BYTES = 4096
ECHO_BYTES = 60_000
HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: drill\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def until(stream, wanted):
    """Reads until something has come."""
    seen = b""
    while wanted not in seen:
        piece = stream.recv(4096)
        if not piece:
            raise EOFError(f"ended behind {seen!r}")
        seen += piece
    return seen


def join(port):
    """A client that has joined."""
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    stream.connect(("127.0.0.1", port))
    stream.settimeout(20)
    stream.sendall(HANDSHAKE)
    until(stream, b'"maxPayload"')
    mask = os.urandom(4)
    text = bytes(byte ^ mask[index] for index, byte in enumerate(b"40"))
    stream.sendall(struct.pack("!BB", 0x81, 0x80 | 2) + mask + text)
    until(stream, b'40{"sid"')
    return stream


def hoard(clients, count):
    """Has each client ask for so many bytes by events that are acknowledged with what they bring."""
    text = b'421["echo","%s"]' % (b"x" * ECHO_BYTES)
    event = struct.pack("!BBHI", 0x81, 0x80 | 126, len(text), 0) + text
    for _ in range(count // ECHO_BYTES):
        for client in clients:
            try:
                client.sendall(event)
            except OSError:
                pass


def flood(client, seconds):
    """Sends events for so long. Gives how many a second."""
    text = b'42["x"]'
    events = 5_000 * (struct.pack("!BBI", 0x81, 0x80 | len(text), 0) + text)
    begun, sent = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        client.sendall(events)
        sent += 5_000
    return int(sent / (time.monotonic() - begun))


def is_gone(stream):
    """Whether the server has let a client go, whatever it had sent before."""
    stream.settimeout(0.2)
    try:
        while stream.recv(1 << 20):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def reset(clients):
    """Ends all connections without a word."""
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    return len(clients)


def main():
    port, count = int(sys.argv[1]), int(sys.argv[2])
    clients = [join(port) for _ in range(count)]
    print("ready", flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "hoard":
            hoard(clients, int(rest[0]))
            print("done", flush=True)
        elif word == "flood":
            print(flood(clients[0], float(rest[0])), flush=True)
        elif word == "count":
            print(sum(is_gone(client) for client in clients), flush=True)
        else:
            print(reset(clients), flush=True)


main()

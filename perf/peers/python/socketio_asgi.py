"""The Socket.IO application on python-socketio, served by uvicorn on uvloop."""

import argparse
import os

import engineio.payload
import socketio
import uvicorn

# Packets in one POST: the default of 16 refuses what a client sends in a row by long-polling.
engineio.payload.Payload.max_decode_packets = 1_000

sio = socketio.AsyncServer(async_mode="asgi")


@sio.event
async def echo(_sid, payload):
    return payload


@sio.event
async def join(sid, room):
    await sio.enter_room(sid, room)


@sio.event
async def publish(_sid, payload):
    await sio.emit("broadcast", payload)


@sio.event
async def publish_room(_sid, room, payload):
    await sio.emit("broadcast", payload, room=room)


class Server(uvicorn.Server):
    """Says on stdout when it accepts connections, and ends as soon as it is told to."""

    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(f"listening on {self.config.host}:{self.config.port}", flush=True)

    def handle_exit(self, sig, frame):
        # uvicorn would say goodbye to each client, which takes longer than a run may wait, and
        # then die of the signal.
        os._exit(0)


def listen_address():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True, metavar="ADDRESS:PORT")
    host, _, port = parser.parse_args().listen.rpartition(":")
    if not host or not port.isdigit():
        parser.error("--listen is not ADDRESS:PORT")
    return host, int(port)


def main():
    host, port = listen_address()
    config = uvicorn.Config(
        socketio.ASGIApp(sio, socketio_path="socket.io"),
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        # Socket.IO has a heartbeat of its own.
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",
    )
    Server(config).run()


if __name__ == "__main__":
    main()

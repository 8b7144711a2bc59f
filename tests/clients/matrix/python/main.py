"""Drives a client of python-socketio through the scenarios: `main.py sync|asyncio PLAN`."""

import importlib.metadata
import json
import os
import queue
import sys
import threading
import time

from clients import KINDS
from scenarios import IMPLEMENTED, Peer, same

SCENARIO_DEADLINE_S = 60


def say(**line):
    print(json.dumps(line), flush=True)


def report(transport, scenario, course):
    """Runs it on a thread, because nothing else bounds what a client's methods wait."""
    ends = queue.SimpleQueue()

    def run():
        try:
            course()
            ends.put(None)
        except BaseException as error:
            ends.put(f"{type(error).__name__}: {error}")

    threading.Thread(target=run, daemon=True).start()
    try:
        error = ends.get(timeout=SCENARIO_DEADLINE_S)
    except queue.Empty:
        error = f"not done within {SCENARIO_DEADLINE_S} s"
    say(transport=transport, scenario=scenario, error=error)


class Kept:
    """A client that must stay connected for longer than the server lets one be silent."""

    def __init__(self, peer, silence_ms):
        self._peer = peer
        self._client = peer.open(url=peer.plan["heartbeatUrl"])
        self._lost = self._client.inbox("disconnect")
        self._client.connect()
        self._id = self._client.id()
        self._until = time.monotonic() + silence_ms / 1_000

    def check(self):
        time.sleep(max(0, self._until - time.monotonic()))
        same(self._lost.drain(), [])
        same(self._client.id(), self._id)
        same(self._client.request("ack", 1), [1])
        self._peer.end()


def main(kind, plan):
    say(version=importlib.metadata.version("python-socketio"))
    implemented = {scenario.__name__: scenario for scenario in IMPLEMENTED}
    transports = [run["transport"] for run in plan["runs"]]
    kept = {
        transport: Kept(Peer(KINDS[kind], plan, transport), plan["silenceMs"])
        for transport in transports
    }
    for run in plan["runs"]:
        for scenario in run["scenarios"]:
            if scenario == "heartbeat":
                continue
            peer = Peer(KINDS[kind], plan, run["transport"])
            report(run["transport"], scenario, lambda: implemented[scenario](peer))
            peer.end()
    for transport in transports:
        report(transport, "heartbeat", kept[transport].check)
    sys.stdout.flush()
    # What a client left running must not keep the program from its end.
    os._exit(0)


main(sys.argv[1], json.loads(sys.argv[2]))

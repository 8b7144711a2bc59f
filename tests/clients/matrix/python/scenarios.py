"""The scenarios of the matrix for python-socketio; ../scenarios.js says what each proves."""

import json
import urllib.request

from clients import Client, DEADLINE_S, Inbox
from socketio.exceptions import ConnectionError as Refusal

UNICODE = 'utf8 — ☃ 日本語 👩‍👩‍👧‍👦 \u0000 \u2028 " \\ é'

JSON_VALUES = [
    ["plain"],
    [None],
    ["a", None, 1],
    [{"a": [1, {"b": [[], {}, None, True, -0.5, 1e-21, ""]}]}],
    [1, "2", [3], {"four": 4}, None, False],
]

BINARY_VALUES = [
    ["text", bytes([1]), {"deep": [bytes([2, 3]), None]}, 4],
    [[bytes([i]) for i in range(10)]],
    [{"empty": b"", "after": 1}, "☃"],
]


# Of a message that may have a million bytes, and of one that travels as base64, a third larger.
LARGE = 999_900
LARGE_IN_BASE64 = 740_000


class Peer:
    """One side of a scenario: makes clients, which end with it."""

    def __init__(self, kind, plan, transport):
        self._kind = kind
        self.plan = plan
        self.transport = transport
        self._clients = []

    def open(self, *namespaces, url=None, **options) -> Client:
        """A client that is not connected yet."""
        url, namespaces = url or self.plan["url"], namespaces or ("/",)
        serializer = self.plan.get("parser", "default")
        client = self._kind(url, self.transport, serializer, namespaces=namespaces, **options)
        self._clients.append(client)
        return client

    def connected(self, *namespaces, **options) -> Client:
        client = self.open(*namespaces, **options)
        client.connect()
        return client

    def cut(self):
        """Breaks the connections of clients that connected to the relay."""
        try:
            urllib.request.urlopen(self.plan["cutUrls"][self.transport], timeout=DEADLINE_S)
        except OSError:
            # The answer is that the connection ends.
            pass

    def end(self):
        for client in self._clients:
            if client.is_connected():
                client.disconnect()


def plain(value):
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    raise TypeError(f"{value!r} came from nowhere")


def same(actual, expected):
    both = (actual, expected)
    found, wanted = (json.dumps(value, sort_keys=True, default=plain) for value in both)
    assert found == wanted, f"{found[:300]} instead of {wanted[:300]}"


def numbered(count, first=0):
    return [[first + i] for i in range(count)]


def echoed(client: Client, args, namespace=None):
    inbox = client.inbox("echo", namespace)
    client.emit("echo", *args, namespace=namespace)
    same(inbox.take(), args)


def came(client: Client, inbox: Inbox, expected):
    """All of these came, in order if the client has one."""
    arrived = [inbox.take() for _ in expected]
    if client.keeps_order:
        same(arrived, expected)
    else:
        same(sorted(arrived, key=repr), sorted(expected, key=repr))


def asked(client: Client, args):
    """Has the server ask this, and requires that it understands the answer."""
    answered = client.inbox("answered")
    client.emit("ask", 5_000, *args)
    same(answered.take(), [True, *args])


def came_back(client: Client, id_before):
    assert client.id() != id_before
    same(client.request("ack", "back"), ["back"])


def connect(peer: Peer):
    auth = {"token": UNICODE, "nested": [1, {"a": None}]}
    client = peer.open(auth=auth)
    inbox = client.inbox("auth")
    client.connect()
    same(inbox.take(), [auth])
    [who] = client.request("whoami")
    expected = "polling" if peer.transport == "polling" else "websocket"
    same([who["id"], who["rooms"]], [client.id(), [client.id()]])
    same([who["transport"], client.transport()], [expected, expected])


def events(peer: Peer):
    client = peer.connected()
    for args in JSON_VALUES:
        echoed(client, args)
    inbox = client.inbox("echo")
    for args in numbered(100):
        client.emit("echo", *args)
    came(client, inbox, numbered(100))


def bare(peer: Peer):
    echoed(peer.connected(), [])


def acks(peer: Peer):
    client = peer.connected()
    for args in [*JSON_VALUES, []]:
        same(client.request("ack", *args), args)
    answers = Inbox()
    for args in numbered(20):
        client.ask(answers, "ack", *args)
    came(client, answers, numbered(20))


def questions(peer: Peer):
    client = peer.connected()
    client.answer_questions()
    for args in [*JSON_VALUES, []]:
        asked(client, args)
    client.answer_questions(delay_s=0.3)
    answered = client.inbox("answered")
    client.emit("ask", 50, "anyone?")
    same(answered.take(), [False])


def binary(peer: Peer):
    client = peer.connected()
    echoed(client, [bytes([0, 1, 2, 254, 255])])
    echoed(client, [bytes(range(256))])


def empty(peer: Peer):
    echoed(peer.connected(), [b""])


def nested(peer: Peer):
    client = peer.connected()
    client.answer_questions()
    for args in BINARY_VALUES:
        echoed(client, args)
        same(client.request("ack", *args), args)
        asked(client, args)


def unicode(peer: Peer):
    client = peer.connected()
    room, event = "räume/☃", "événement 日本語"
    echoed(client, [UNICODE])
    client.request("join", room)
    inbox = client.inbox(event)
    client.emit("in", [room], [], event, UNICODE)
    same(inbox.take(), [UNICODE])


def large(peer: Peer):
    client = peer.connected()
    # Polling has text only, and msgpack binary only.
    binary = LARGE_IN_BASE64 if peer.transport == "polling" else LARGE
    echoed(client, ["x" * (binary if peer.plan.get("parser") == "msgpack" else LARGE)])
    echoed(client, [bytes(i % 251 for i in range(binary))])


def namespace(peer: Peer):
    auth = {"token": "custom"}
    client = peer.open("/custom", auth=auth)
    inbox = client.inbox("auth")
    client.connect()
    same(inbox.take(), [auth])
    echoed(client, ["a", bytes([1])])
    same(client.request("ack", "b"), ["b"])
    same(refusal(peer.open("/unknown", reconnection=False)), [{"message": "Invalid namespace"}])


def refusal(client: Client):
    """Why the server does not let it in."""
    errors = client.inbox("connect_error")
    try:
        client.connect()
    except Refusal:
        return errors.take()
    raise AssertionError("it was let in")


def shared(peer: Peer):
    client = peer.connected("/", "/custom")
    inboxes = {name: client.inbox("echo", name) for name in client.namespaces}
    for i in range(50):
        for name in client.namespaces:
            client.emit("echo", name, i, namespace=name)
    for name, inbox in inboxes.items():
        came(client, inbox, [[name, i] for i in range(50)])
    left = client.inbox("disconnect", "/custom")
    client.emit("disconnect-me", False, namespace="/custom")
    same(left.take(), ["server disconnect"])
    same(client.request("ack", "still there"), ["still there"])


def rooms(peer: Peer):
    a, b, c = (peer.connected() for _ in range(3))
    news = [client.inbox("news") for client in (a, b, c)]
    fences = [client.inbox("fence") for client in (a, b, c)]
    a.request("join", "one")
    b.request("join", "one")
    b.request("join", "two")
    for i in range(20):
        c.emit("to", ["one", "two"], [], "news", i)
    c.emit("to", [], [], "news", "all but c")
    for client, inbox in ((a, news[0]), (b, news[1])):
        came(client, inbox, [*numbered(20), ["all but c"]])
    a.emit("to", ["one"], [], "news", "b")
    came(b, news[1], [["b"]])
    c.emit("in", ["one", "two"], [b.id()], "news", "a")
    b.request("leave", "one")
    c.emit("in", ["one"], [], "news", bytes([1]))
    came(a, news[0], [["a"], [bytes([1])]])
    # What was sent to the wrong ones comes before the fence of who had it sent.
    for client in (a, c):
        client.emit("in", [], [], "fence", None)
    for fence in fences:
        same([fence.take(), fence.take()], [[None], [None]])
    same([inbox.drain() for inbox in news], [[], [], []])


def refused(peer: Peer):
    stranger = peer.open("/guarded", auth={"token": "x"}, reconnection=False)
    data = {"code": 7, "why": "no ☃ token"}
    same(refusal(stranger), [{"message": "not allowed", "data": data}])
    assert not stranger.is_connected()
    friend = peer.connected("/guarded", auth={"token": "open sesame"})
    assert friend.is_connected()


def leave(peer: Peer):
    client, watcher = peer.connected(), peer.connected()
    id_before = client.id()
    gone = watcher.inbox("gone")
    left = client.inbox("disconnect")
    client.disconnect()
    same(left.take(), ["client disconnect"])
    # It closes a WebSocket without waiting until what it said last has been written.
    farewells = ["client namespace disconnect", "transport close"]
    # That is for socket.io-msgpack-parser no packet.
    if peer.plan.get("parser") == "msgpack":
        farewells.append("forced close")
    reason = reason_of(gone, id_before)
    assert reason in farewells, reason
    client.connect()
    came_back(client, id_before)


def reason_of(gone: Inbox, id_before):
    """Why the server says that this one left; others are of scenarios before."""
    while True:
        [who, reason] = gone.take()
        if who == id_before:
            return reason


def ended(peer: Peer):
    for close in (False, True):
        client = peer.connected()
        id_before = client.id()
        left = client.inbox("disconnect")
        client.emit("disconnect-me", close)
        same(left.take(), ["server disconnect"])
        # For when it may connect again itself there is no event.
        came_back(peer.connected(), id_before)


def reconnect(peer: Peer):
    client = peer.connected(url=peer.plan["relayUrl"])
    id_before = client.id()
    lost, back = client.inbox("disconnect"), client.inbox("connect")
    peer.cut()
    same(lost.take(), ["transport error"])
    back.take()
    assert client.id() != id_before
    same(client.request("ack", "back"), ["back"])


def upgrade(peer: Peer):
    client = peer.open()
    bursts, echoes = client.inbox("burst"), client.inbox("echo")
    client.connect()
    client.emit("burst", 50, 0)
    for args in numbered(50):
        client.emit("echo", *args)
    came(client, echoes, numbered(50))
    came(client, bursts, numbered(50))
    same(client.request("whoami")[0]["transport"], "websocket")


IMPLEMENTED = [
    connect, events, bare, acks, questions, binary, empty, nested, unicode, large, namespace, shared,
    rooms, refused, leave, ended, reconnect, upgrade,
]

"""The two clients of python-socketio behind one blocking face, so that scenarios are written once."""

import asyncio
import queue
import threading
import time

import engineio.payload
import socketio

DEADLINE_S = 20

TRANSPORTS = {
    "polling": ["polling"],
    "websocket": ["websocket"],
    "upgrade": ["polling", "websocket"],
}

# Of a poll's answer it takes 16 packets unless told otherwise, and is disconnected by more.
engineio.payload.Payload.max_decode_packets = 1_000


class Inbox:
    """Collects the arguments of every such event."""

    def __init__(self):
        self._arrived = queue.SimpleQueue()

    def put(self, *args):
        self._arrived.put(list(args))

    def take(self):
        """The arguments of the next one."""
        return self._arrived.get(timeout=DEADLINE_S)

    def drain(self):
        """Those of all that have come until now."""
        return [self._arrived.get() for _ in range(self._arrived.qsize())]


class Client:
    """A client that is not connected yet."""

    # Whether events are handled in the order in which they came.
    keeps_order = True

    def __init__(
        self, make, url, transport, serializer, namespaces=("/",), auth=None, reconnection=True
    ):
        self.sio = make(
            serializer=serializer,
            reconnection=reconnection,
            reconnection_delay=0.02,
            randomization_factor=0,
            handle_sigint=False,
        )
        self.namespaces = list(namespaces)
        self._url = url
        self._options = {
            "transports": TRANSPORTS[transport],
            "namespaces": self.namespaces,
            "auth": auth,
            "wait_timeout": DEADLINE_S,
        }

    def _done(self, result):
        """The outcome of what a method of the client has returned."""
        raise NotImplementedError

    def connect(self):
        self._done(self.sio.connect(self._url, **self._options))

    def disconnect(self):
        self._done(self.sio.disconnect())

    def emit(self, event, *args, namespace=None):
        self._done(self.sio.emit(event, args, namespace=namespace or self.namespaces[0]))

    def request(self, event, *args):
        """The arguments of the ack to this event."""
        answers = Inbox()
        self.ask(answers, event, *args)
        return answers.take()

    def ask(self, answers, event, *args):
        """Emits, and has the arguments of the ack put into the inbox."""
        namespace = self.namespaces[0]
        self._done(self.sio.emit(event, args, namespace=namespace, callback=answers.put))

    def inbox(self, event, namespace=None):
        inbox = Inbox()
        self.sio.on(event, inbox.put, namespace=namespace or self.namespaces[0])
        return inbox

    def answer_questions(self, delay_s=0):
        """Answers what the server asks with what it asks, later by the delay."""
        raise NotImplementedError

    def id(self):
        return self.sio.get_sid(self.namespaces[0])

    def transport(self):
        transport = self.sio.transport
        return transport() if callable(transport) else transport

    def is_connected(self):
        return self.sio.connected


class SyncClient(Client):
    # Each message is handled on a thread of its own.
    keeps_order = False

    def __init__(self, *args, **options):
        super().__init__(socketio.Client, *args, **options)

    def _done(self, result):
        return result

    def answer_questions(self, delay_s=0):
        def answer(*args):
            time.sleep(delay_s)
            return args

        self.sio.on("question", answer, namespace=self.namespaces[0])


class AsyncClient(Client):
    _loop = None

    def __init__(self, *args, **options):
        super().__init__(socketio.AsyncClient, *args, **options)
        if AsyncClient._loop is None:
            AsyncClient._loop = asyncio.new_event_loop()
            threading.Thread(target=AsyncClient._loop.run_forever, daemon=True).start()

    def _done(self, result):
        return asyncio.run_coroutine_threadsafe(result, self._loop).result(DEADLINE_S)

    def answer_questions(self, delay_s=0):
        async def answer(*args):
            await asyncio.sleep(delay_s)
            return args

        self.sio.on("question", answer, namespace=self.namespaces[0])


KINDS = {"sync": SyncClient, "asyncio": AsyncClient}

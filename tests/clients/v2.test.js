// The client of Socket.IO 2.x, unmodified: another revision of both protocols on the same server.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import io from "socket.io-client-2";
import { Inbox, connected, next, reasonOf, withDeadline } from "./client.js";
import { startServer } from "./server.js";

const server = await startServer("--allow-eio3");
after(() => server.stop());

/** The ways such a client can be connected. */
const TRANSPORTS = {
  polling: { transports: ["polling"] },
  websocket: { transports: ["websocket"] },
  "websocket in base64": { transports: ["websocket"], forceBase64: true },
  upgrade: {},
};

/** A client of 2.x that ends with the test; it may not be connected yet. */
function open(t, url, options = {}) {
  const socket = io(url, { forceNew: true, reconnectionDelay: 20, ...options });
  t.after(() => {
    socket.io.reconnection(false);
    socket.io.close();
  });
  return socket;
}

/** One that is connected, and where that is meant to happen upgraded. */
async function joined(t, url, options = {}) {
  const socket = open(t, url, options);
  await next(socket, "connect");
  const { engine } = socket.io;
  if (!options.transports && engine.transport.name === "polling") await next(engine, "upgrade");
  return socket;
}

/** The arguments of the ack to this event. */
function request(socket, event, ...args) {
  return withDeadline(event, new Promise((resolve) => {
    socket.emit(event, ...args, (...answers) => resolve(answers));
  }));
}

for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`b35_1 a client of 2 x has the id of its session (${name})`, async (t) => {
    const socket = await joined(t, server.url, options);
    const [{ id, rooms, transport }] = await request(socket, "whoami");
    assert.equal(socket.id, socket.io.engine.id);
    assert.equal(id, socket.id);
    assert.deepEqual(rooms, [id]);
    assert.equal(transport, name === "polling" ? "polling" : "websocket");
  });

  test(`b35_1 texts and binary go both ways (${name})`, async (t) => {
    const socket = await joined(t, server.url, options);
    const echoed = new Inbox(socket, "echo");
    const bytes = Buffer.from([0, 4, 30, 255]);
    const values = [
      [],
      ["€ 😀 é", 1, null, { a: [true] }],
      [bytes],
      [{ deep: [bytes, { x: bytes }], text: "😀" }, Buffer.alloc(0)],
      ["x".repeat(200_000)],
      [Buffer.alloc(200_000, 7)],
    ];
    for (const args of values) socket.emit("echo", ...args);
    assert.deepEqual(await echoed.take(values.length), values);
  });

  test(`b35_1 both sides answer, with binary too (${name})`, async (t) => {
    const socket = await joined(t, server.url, options);
    const bytes = Buffer.from("answer");
    assert.deepEqual(await request(socket, "ack", 1, { bytes }), [1, { bytes }]);
    socket.on("question", (asked, answer) => answer({ asked, bytes }));
    socket.emit("ask", 5_000, bytes);
    assert.deepEqual(await next(socket, "answered"), [true, { asked: bytes, bytes }]);
  });

  test(`b35_2 the query of a namespace becomes auth (${name})`, async (t) => {
    const url = `${server.url}/custom?token=abc%20d&n=1`;
    const socket = open(t, url, options);
    const auth = next(socket, "auth");
    await next(socket, "connect");
    assert.deepEqual(await auth, [{ token: "abc d", n: "1" }]);
    assert.deepEqual(await request(socket, "ack", Buffer.from([1])), [Buffer.from([1])]);
    const again = next(socket, "connect");
    socket.disconnect();
    socket.connect();
    await again;
    assert.deepEqual(await request(socket, "ack", 2), [2]);
  });

  test(`one broadcast reaches clients of both versions (${name})`, async (t) => {
    const old = await joined(t, server.url, options);
    const current = await connected(t, server.url);
    const room = `room of ${name}`;
    await Promise.all([request(old, "join", room), current.emitWithAck("join", room)]);
    const inboxes = [new Inbox(old, "news"), new Inbox(current, "news")];
    const payloads = ["€ 😀", { bytes: Buffer.from([1, 2, 3]) }, 7];
    for (const payload of payloads) await request(old, "in", [room], [], "news", payload);
    for (const inbox of inboxes) {
      assert.deepEqual(await inbox.take(3), payloads.map((payload) => [payload]));
    }
  });

  test(`what cannot be joined is an error and harms nothing (${name})`, async (t) => {
    const socket = await joined(t, server.url, options);
    const none = socket.io.socket("/none");
    assert.deepEqual(await next(none, "error"), [{ message: "Invalid namespace" }]);
    assert.deepEqual(await request(socket, "ack", 1), [1]);
  });

  test(`either side may end it (${name})`, async (t) => {
    const watcher = await connected(t, server.url);
    const gone = new Inbox(watcher, "gone");
    const leaving = await joined(t, server.url, options);
    const { id } = leaving;
    leaving.close();
    assert.match(await reasonOf(gone, id), /^(client namespace disconnect|transport close)$/);
    const sent = await joined(t, server.url, { ...options, reconnection: false });
    const ended = next(sent, "disconnect");
    sent.emit("disconnect-me", true);
    assert.deepEqual(await ended, ["io server disconnect"]);
  });
}

for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`b4_17 b4_18 a client that pings stays connected (${name})`, async (t) => {
    const quick = await startServer(
      ...["--allow-eio3", "--ping-interval-ms", "100", "--ping-timeout-ms", "5000"],
    );
    t.after(() => quick.stop());
    const socket = await joined(t, quick.url, options);
    for (let i = 0; i < 5; i++) await next(socket, "pong");
    assert.deepEqual(await request(socket, "ack", 1), [1]);
    assert.ok(socket.connected);
  });
}

test("b4_3 a client that does not ping is gone", async (t) => {
  const quick = await startServer(
    ...["--allow-eio3", "--ping-interval-ms", "200", "--ping-timeout-ms", "300"],
  );
  t.after(() => quick.stop());
  const socket = open(t, quick.url, { transports: ["websocket"], reconnection: false });
  // The engine asks for the time of its next ping when it learns the interval.
  socket.io.engine.setPing = () => {};
  await next(socket, "connect");
  await next(socket, "disconnect");
});

test("b35_3 a client of 2 x is refused where it is not allowed", async (t) => {
  const other = await startServer();
  t.after(() => other.stop());
  for (const options of [TRANSPORTS.polling, TRANSPORTS.websocket]) {
    const socket = open(t, other.url, { ...options, reconnection: false });
    await next(socket, "connect_error");
    assert.ok(!socket.connected);
  }
});

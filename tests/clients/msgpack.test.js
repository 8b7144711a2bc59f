// The same client with socket.io-msgpack-parser, against a server that speaks it.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Manager } from "socket.io-client";
import parser from "socket.io-msgpack-parser";
import {
  Inbox,
  TRANSPORTS,
  bare,
  connected,
  next,
  open,
  reasonOf,
  request,
  upgraded,
} from "./client.js";
import { startServer } from "./server.js";

const server = await startServer("--parser", "msgpack", "--max-payload-bytes", "2000000");
after(() => server.stop());

const bytes = (...values) => Buffer.from(values);

/** Every form that a value has in MessagePack, as far as JSON knows it. */
const VALUES = {
  "no argument at all": [],
  "text of each length": ["", "a", "é".repeat(16), "b".repeat(200), "c".repeat(70_000)],
  "multi-byte text": ["utf8 — string ☃ 日本語 👩‍👩‍👧‍👦 \u0000 \u2028 \"\\ é"],
  integers: [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32, Number.MAX_SAFE_INTEGER],
  "negative integers": [-1, -32, -33, -128, -129, -32_768, -32_769, -(2 ** 31), -(2 ** 31) - 1],
  // notepack, in the client, takes whole numbers beyond 64 bits for integers, and writes others.
  fractions: [0.5, -1.1, 1e-7, Math.PI * 1e9, Number.MIN_VALUE],
  "lists and objects of each size": [
    [],
    {},
    Array.from({ length: 16 }, (_, i) => i),
    Array.from({ length: 70_000 }, () => null),
    Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`key ${i}`, { i }])),
  ],
  "b38_2 binary of each length": [0, 2, 255, 256, 70_000].map((length) => Buffer.alloc(length, 7)),
  "b38_2 binary among others": ["a", bytes(1), { deep: [bytes(2, 3), null, { a: bytes(4) }] }, 4],
  "b38_2 more binary values than text has": Array.from({ length: 40 }, (_, i) => bytes(i)),
  "names that JavaScript knows": [{ constructor: 1, toString: null, hasOwnProperty: [] }],
  "what looks like a placeholder": [{ _placeholder: true, num: 0 }],
};

/** The ids that a name begins with stand first in the name of the test. */
function named(what, rest) {
  const [, id, name] = /^(b38_\d )?(.*)$/.exec(what);
  return `${id ?? ""}msgpack: ${name} ${rest}`;
}

for (const [name, transport] of Object.entries({ ...TRANSPORTS, upgrade: {} })) {
  const options = { ...transport, parser };
  const start = async (t, url = server.url) => {
    const socket = await connected(t, url, options);
    if (name === "upgrade") await upgraded(socket);
    return socket;
  };

  for (const [what, args] of Object.entries(VALUES)) {
    test(named(what, `both ways, in events and acks (${name})`), async (t) => {
      const socket = await start(t);
      socket.emit("echo", ...args);
      assert.deepEqual(await next(socket, "echo"), args);
      assert.deepEqual(await request(socket, "ack", ...args), args);
    });
  }

  test(`b38_1 msgpack: the server is told who the client is (${name})`, async (t) => {
    const socket = open(t, server.url, { ...options, auth: { token: "abc", list: [1, null] } });
    assert.deepEqual(await next(socket, "auth"), [{ token: "abc", list: [1, null] }]);
    assert.match(socket.id, /^[\w-]{20}$/);
  });

  test(`b38_3 msgpack: the client answers a question with binary (${name})`, async (t) => {
    const socket = await start(t);
    socket.once("question", (one, two, ack) => ack(two, one, bytes(9)));
    socket.emit("ask", 5_000, 1, bytes(2));
    assert.deepEqual(await next(socket, "answered"), [true, bytes(2), 1, bytes(9)]);
  });

  test(`b38_4 b38_5 msgpack: several namespaces, of which one is unknown (${name})`, async (t) => {
    const manager = new Manager(server.url, { reconnectionDelay: 20, ...options });
    const [main, custom, unknown] = ["/", "/custom", "/unknown"].map((nsp) => manager.socket(nsp));
    t.after(() => {
      manager.reconnection(false);
      for (const socket of [main, custom, unknown]) socket.disconnect();
    });
    const [[error]] = await Promise.all([
      next(unknown, "connect_error"),
      next(main, "connect"),
      next(custom, "connect"),
    ]);
    assert.equal(error.message, "Invalid namespace");
    for (const socket of [main, custom]) {
      socket.emit("echo", socket.nsp);
      assert.deepEqual(await next(socket, "echo"), [socket.nsp]);
    }
  });

  test(`b38_6 msgpack: a broadcast reaches a room with its binary values (${name})`, async (t) => {
    const sockets = await Promise.all([start(t), start(t), start(t)]);
    const inboxes = sockets.map((socket) => new Inbox(socket, "news"));
    await request(sockets[1], "join", `room of ${name}`);
    await request(sockets[2], "join", `room of ${name}`);
    const payload = { picture: bytes(1, 2), title: "☃" };
    await request(sockets[0], "in", [`room of ${name}`], [], "news", payload);
    assert.deepEqual(await inboxes[1].take(), [[payload]]);
    assert.deepEqual(await inboxes[2].take(), [[payload]]);
    await request(sockets[0], "whoami");
    assert.equal(inboxes[0].size, 0);
  });

  test(`b38_6 msgpack: everybody who is asked answers (${name})`, async (t) => {
    const sockets = await Promise.all([start(t), start(t)]);
    for (const [i, socket] of sockets.entries()) {
      await request(socket, "join", `jury of ${name}`);
      socket.on("question", (question, ack) => ack(question + i));
    }
    const jury = [`jury of ${name}`];
    const [isComplete, answers] = await request(sockets[0], "survey", 5_000, jury, 1);
    assert.equal(isComplete, true);
    assert.deepEqual(answers.sort(), [1, 2]);
  });

  test(`msgpack: 1,000 events each way arrive once and in order (${name})`, async (t) => {
    const socket = await start(t);
    const sent = Array.from({ length: 1_000 }, (_, i) => (i % 2 ? [i, bytes(i)] : [i]));
    const echoes = new Inbox(socket, "echo");
    for (const args of sent) socket.emit("echo", ...args);
    assert.deepEqual(await echoes.take(1_000), sent);
  });

  test(`msgpack: the server disconnects, and the client comes back (${name})`, async (t) => {
    const socket = await start(t);
    const disconnected = next(socket, "disconnect");
    socket.emit("disconnect-me", false);
    assert.equal((await disconnected)[0], "io server disconnect");
    socket.connect();
    await next(socket, "connect");
    assert.deepEqual(await request(socket, "ack", 1), [1]);
  });
}

test("b38_2 msgpack: a date is its text, and undefined is null or nothing", async (t) => {
  const socket = await connected(t, server.url, { parser });
  const date = new Date(1_234_567_890_123);
  const sent = [date, undefined, [undefined], { a: undefined, b: date }];
  const answer = await request(socket, "ack", ...sent);
  // The reference hands on what notepack reads; here it is what JSON says.
  if (process.env.FANFARE_SERVER === "reference") return;
  assert.deepEqual(answer, [date.toISOString(), null, [null], { b: date.toISOString() }]);
});

for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`b38_7 msgpack: what is no packet closes the session (${name})`, async (t) => {
    const witness = await connected(t, server.url, { parser });
    const gone = new Inbox(witness, "gone");
    const poison = [bytes(0xc1), bytes(0x80), Buffer.alloc(2_000, 0x91), "2[\"echo\"]"];
    for (const message of poison) {
      const socket = await connected(t, server.url, { ...options, parser, reconnection: false });
      const { id } = socket;
      socket.io.engine.write(message);
      await next(socket, "disconnect");
      assert.equal(await reasonOf(gone, id), "forced close");
    }
  });

  test(`b38_7 msgpack: a client of the default parser is turned away (${name})`, async (t) => {
    const engine = await bare(t, server.url, options);
    const closed = next(engine, "close");
    engine.write("0");
    await closed;
  });
}

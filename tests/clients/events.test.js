// What events and acks carry, on every transport, and that their order holds.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  Inbox,
  TRANSPORTS,
  connected,
  next,
  numbered,
  open,
  request,
  upgraded,
} from "./client.js";
import { startServer } from "./server.js";

// Base64 makes 900 KB of binary too large for one request under the default limit.
const server = await startServer("--max-payload-bytes", "2000000");
after(() => server.stop());

/** What arrives is a Buffer, whatever kind of binary was sent. */
const bytes = (...values) => Buffer.from(values);

const UNICODE = "utf8 — string ☃ 日本語 👩‍👩‍👧‍👦 \u0000 \u2028 \"\\ é";

const VALUES = {
  "b32_3 b32_7 b5_1 b5_6 text": ["plain"],
  "b32_8 b5_20 multi-byte text": [UNICODE],
  "b32_5 null": [null],
  "b32_5 null among others": ["a", null, 1],
  "b32_7 no argument at all": [],
  "b32_7 nested JSON": [{ a: [1, { b: [[], {}, null, true, -0.5, 1e21, ""] }], "☃": "snow" }],
  "b32_7 several arguments": [1, "2", [3], { four: 4 }, null, false],
  "b32_9 b32_11 b5_13 binary": [bytes(0, 1, 2, 254, 255)],
  "b32_9 empty binary": [Buffer.alloc(0)],
  "b32_10 b32_12 binary among others": ["text", bytes(1), { deep: [bytes(2, 3), null] }, 4],
  "b32_10 ten binary values": [Array.from({ length: 10 }, (_, i) => bytes(i))],
};

for (const [name, options] of Object.entries({ ...TRANSPORTS, upgrade: {} })) {
  const start = async (t) => {
    const socket = await connected(t, server.url, options);
    if (name === "upgrade") await upgraded(socket);
    return socket;
  };

  for (const [what, args] of Object.entries(VALUES)) {
    test(`${what} survives both ways in an event (${name})`, async (t) => {
      const socket = await start(t);
      socket.emit("echo", ...args);
      assert.deepEqual(await next(socket, "echo"), args);
    });

    test(`${ackIds(what)} in acks both ways: ${withoutIds(what)} (${name})`, async (t) => {
      const socket = await start(t);
      assert.deepEqual(await request(socket, "ack", ...args), args);

      socket.once("question", (...question) => {
        const ack = question.pop();
        ack(...question);
      });
      socket.emit("ask", 5_000, ...args);
      assert.deepEqual(await next(socket, "answered"), [true, ...args]);
    });
  }

  test(`b5_9 b5_10 b5_11 b5_12 every kind of binary arrives as its bytes (${name})`, async (t) => {
    const socket = await start(t);
    const int8 = new Int8Array([-1, 0, 1]);
    const int32 = new Int32Array([-1, 0, 1]);
    for (const binary of [int8, int32, int32.buffer, Buffer.from("buffer"), new Uint8Array(3)]) {
      const [echoed] = await request(socket, "ack", binary);
      const sent = Buffer.from(binary.buffer ?? binary, binary.byteOffset ?? 0, binary.byteLength);
      assert.deepEqual(echoed, sent);
    }
  });

  test(`b32_4 b32_23 send arrives as message, both ways (${name})`, async (t) => {
    const socket = await start(t);
    socket.send("hello", 1);
    assert.deepEqual(await next(socket, "message"), ["hello", 1]);
  });

  test(`b32_40 a JSON document of 500 KB (${name})`, async (t) => {
    const socket = await start(t);
    const document = { rows: Array.from({ length: 5_000 }, (_, i) => [i, "☃".repeat(29), null]) };
    assert.ok(Buffer.byteLength(JSON.stringify(document)) > 500_000);
    assert.deepEqual(await request(socket, "ack", document), [document]);
  });

  test(`b32_41 b5_15 binary of 900 KB (${name})`, async (t) => {
    const socket = await start(t);
    const large = Buffer.from(Uint8Array.from({ length: 900_000 }, (_, i) => i % 251));
    const [echoed] = await request(socket, "ack", large);
    assert.ok(Buffer.compare(echoed, large) === 0);
  });

  test(`b32_25 1,000 events each way arrive once and in order (${name})`, async (t) => {
    const socket = await start(t);
    const echoes = new Inbox(socket, "echo");
    for (const args of numbered(1_000)) socket.emit("echo", ...args);
    assert.deepEqual(await echoes.take(1_000), numbered(1_000));

    const bursts = new Inbox(socket, "burst");
    await request(socket, "burst", 1_000, 0);
    assert.deepEqual(bursts.drain(), numbered(1_000));
  });

  test(`b32_25 text and binary events keep their order (${name})`, async (t) => {
    const socket = await start(t);
    const echoes = new Inbox(socket, "echo");
    const sent = Array.from({ length: 100 }, (_, i) => (i % 2 ? [i, bytes(i)] : [i]));
    for (const args of sent) socket.emit("echo", ...args);
    assert.deepEqual(await echoes.take(100), sent);
  });

  test(`b30_1 b30_2 an ack that is late is an error and then ignored (${name})`, async (t) => {
    const socket = await start(t);
    const answered = new Inbox(socket, "answered");
    const questions = new Inbox(socket, "question");
    socket.emit("ask", 50, "anyone?");
    const [[, ack]] = await questions.take();
    assert.deepEqual(await answered.take(), [[false]]);
    ack("too late");
    await request(socket, "ack");
    assert.equal(answered.size, 0);
  });

  test(`b30_3 an ack in time is no error (${name})`, async (t) => {
    const socket = await start(t);
    socket.once("question", (ack) => ack("in time"));
    socket.emit("ask", 5_000);
    assert.deepEqual(await next(socket, "answered"), [true, "in time"]);
  });

  test(`b32_26 a second answer to one question is ignored (${name})`, async (t) => {
    const socket = await start(t);
    const answered = new Inbox(socket, "answered");
    socket.once("question", (ack) => {
      ack(1);
      ack(2);
    });
    socket.emit("ask", 5_000);
    assert.deepEqual(await answered.take(), [[true, 1]]);
    await request(socket, "ack");
    assert.equal(answered.size, 0);
  });

  test(`b30_1 an event without a handler gets no ack (${name})`, async (t) => {
    const socket = await start(t);
    await assert.rejects(socket.timeout(50).emitWithAck("unheard"), /timed out/);
    assert.deepEqual(await request(socket, "ack", "still there"), ["still there"]);
  });

  test(`b32_24 b32_26 fifty acks at once each find their question (${name})`, async (t) => {
    const socket = await start(t);
    const answers = await Promise.all(numbered(50).map(([i]) => request(socket, "ack", i)));
    assert.deepEqual(answers, numbered(50));

    socket.on("question", (i, ack) => ack(i));
    const answered = new Inbox(socket, "answered");
    for (const [i] of numbered(50)) socket.emit("ask", 5_000, i);
    assert.deepEqual(await answered.take(50), numbered(50).map(([i]) => [true, i]));
  });
}

test("b9_1 50 numbered messages each way during the upgrade", async (t) => {
  for (let round = 0; round < 10; round++) {
    const socket = open(t, server.url);
    const echoes = new Inbox(socket, "echo");
    let sent = 0;
    const send = (upTo) => {
      while (sent < upTo) socket.emit("echo", sent++);
    };
    // Emitted before, while and after the session changes its transport.
    socket.once("connect", () => send(10));
    await next(socket.io, "open");
    const { engine } = socket.io;
    engine.once("upgrading", () => send(30));
    engine.once("upgrade", () => send(50));
    assert.deepEqual(await echoes.take(50), numbered(50));
    assert.equal(engine.transport.name, "websocket");
    socket.disconnect();
  }
});

test("b9_1 a stream from the server goes on through an upgrade without a gap", async (t) => {
  const feeder = await connected(t, server.url, TRANSPORTS.websocket);
  for (let round = 0; round < 10; round++) {
    const socket = open(t, server.url);
    const news = new Inbox(socket, "news");
    let feeding = true;
    const feed = (async () => {
      for (let i = 0; feeding; i++) await request(feeder, "to", [], [], "news", i);
    })();
    await next(socket, "connect");
    await upgraded(socket);
    const atUpgrade = news.drain();
    const all = [...atUpgrade, ...(await news.take(20))];
    feeding = false;
    await feed;
    const [[first]] = all;
    assert.deepEqual(all, numbered(all.length, first));
    socket.disconnect();
  }
});

test("b9_1 a client that emits and is asked all through the upgrade loses no ack", async (t) => {
  const socket = open(t, server.url);
  socket.on("question", (i, ack) => ack(i));
  await next(socket, "connect");
  const up = upgraded(socket).then(() => true);
  let done = false;
  for (let i = 0; !done || i < 50; i++) {
    assert.deepEqual(await request(socket, "ack", i), [i]);
    const answered = next(socket, "answered");
    socket.emit("ask", 5_000, i);
    assert.deepEqual(await answered, [true, i]);
    done = await Promise.race([up, false]);
  }
});

/** Acks are behaviours of their own, for the same kinds of value. */
function ackIds(what) {
  return /binary/.test(what) ? "b32_29 b32_30 b32_31 b32_32" : "b32_24 b32_26 b32_27 b32_28";
}

function withoutIds(what) {
  return what.replace(/^(b\d+_\d+ )+/, "");
}

// Which transport a client gets, what the handshake tells it, and what one message may weigh.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { WebSocket } from "ws";
import {
  Inbox,
  TRANSPORTS,
  connected,
  next,
  open,
  request,
  upgraded,
  withDeadline,
} from "./client.js";
import { startServer } from "./server.js";

const server = await startServer();
after(() => server.stop());

const transportOf = async (socket) => (await request(socket, "whoami"))[0].transport;

/** Status and body of the answer to a handshake over polling. */
async function refusal(socket) {
  // The client empties the request as soon as the listeners have run.
  let body;
  socket.once("connect_error", (error) => (body = error.context.responseText));
  const [error] = await next(socket, "connect_error");
  return [error.description, JSON.parse(body)];
}

for (const [name, options] of Object.entries(TRANSPORTS)) {
  const ids = name === "polling" ? "b2_18 b5_1" : "b2_19 b5_6";
  test(`${ids} a client on ${name} only stays there`, async (t) => {
    const socket = await connected(t, server.url, options);
    assert.equal(await transportOf(socket), name);
    assert.equal(socket.io.engine.transport.name, name);
  });
}

test("b2_18 b9_1 a default client starts on polling and is upgraded", async (t) => {
  const socket = open(t, server.url);
  await next(socket.io, "open");
  assert.equal(socket.io.engine.transport.name, "polling");
  await next(socket, "connect");
  const { id } = socket;
  await upgraded(socket);
  assert.equal(await transportOf(socket), "websocket");
  assert.equal(socket.id, id);
});

test("b2_18 a client may also start on WebSocket and have polling behind it", async (t) => {
  const socket = await connected(t, server.url, { transports: ["websocket", "polling"] });
  assert.equal(await transportOf(socket), "websocket");
});

test("b2_15 b2_20 b2_23 the open packet carries the session", async (t) => {
  const expected = { pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_000_000 };
  for (const [transports, upgrades] of [[["polling"], ["websocket"]], [["websocket"], []]]) {
    const socket = open(t, server.url, { transports });
    const [{ sid, ...rest }] = await next(socket.io.engine, "handshake");
    assert.match(sid, /^[\w-]{20,}$/);
    assert.deepEqual(rest, { upgrades, ...expected });
  }
});

test("b2_16 b2_21 b2_22 only what is configured is advertised", async (t) => {
  const other = await startServer(
    ...["--transports", "polling", "--max-payload-bytes", "3456"],
    ...["--ping-interval-ms", "1234", "--ping-timeout-ms", "2345"],
  );
  t.after(() => other.stop());
  const socket = open(t, other.url);
  const [{ sid, ...rest }] = await next(socket.io.engine, "handshake");
  assert.ok(sid);
  assert.deepEqual(rest, {
    upgrades: [],
    pingInterval: 1234,
    pingTimeout: 2345,
    maxPayload: 3456,
  });
  await next(socket, "connect");
  assert.equal(await transportOf(socket), "polling");
});

test("b1_1 b2_22 a transport that is not enabled is refused", async (t) => {
  const other = await startServer("--transports", "websocket");
  t.after(() => other.stop());
  const socket = open(t, other.url, { ...TRANSPORTS.polling, reconnection: false });
  assert.deepEqual(await refusal(socket), [400, { code: 0, message: "Transport unknown" }]);
  assert.equal(await transportOf(await connected(t, other.url, TRANSPORTS.websocket)), "websocket");
});

test("b1_3 an unknown session is refused with code 1", async (t) => {
  const query = { sid: "no-such-session-here" };
  const socket = open(t, server.url, { ...TRANSPORTS.polling, query, reconnection: false });
  assert.deepEqual(await refusal(socket), [400, { code: 1, message: "Session ID unknown" }]);
});

test("b1_8 a second WebSocket for an upgraded session is closed", async (t) => {
  const first = await connected(t, server.url);
  await upgraded(first);
  const query = { sid: first.io.engine.id };
  const second = open(t, server.url, { ...TRANSPORTS.websocket, query, reconnection: false });
  await next(second.io.engine, "close");
  assert.equal(await transportOf(first), "websocket");
});

test("b4_16 requests with Connection: close do not end the session", async (t) => {
  const extraHeaders = { Connection: "close" };
  const socket = await connected(t, server.url, { ...TRANSPORTS.polling, extraHeaders });
  for (let i = 0; i < 5; i++) {
    assert.deepEqual(await request(socket, "ack", i), [i]);
  }
});

for (const [name, options] of Object.entries(TRANSPORTS)) {
  const ids = name === "polling" ? "b5_3" : "b5_4";
  test(`${ids} a message over the limit ends the client undelivered (${name})`, async (t) => {
    const watcher = await connected(t, server.url, TRANSPORTS.websocket);
    const seen = new Inbox(watcher, "news");
    const socket = await connected(t, server.url, options);
    socket.emit("to", [], [], "news", "x".repeat(1_000_001));
    const [reason] = await next(socket, "disconnect");
    assert.match(reason, /^transport (close|error)$/);
    await next(socket, "connect");
    await request(socket, "to", [], [], "news", "after");
    assert.deepEqual(await seen.take(), [["after"]]);
  });

  const smaller = name === "polling" ? "b5_5 b5_15" : "b5_6";
  test(`${smaller} a message just under the limit is delivered (${name})`, async (t) => {
    const socket = await connected(t, server.url, options);
    const text = "x".repeat(999_900);
    const [echoed] = await request(socket, "ack", text);
    assert.ok(echoed === text);
  });
}

test("b4_32 a WebSocket that is never used is closed and polling goes on", async (t) => {
  const other = await startServer("--upgrade-timeout-ms", "300");
  t.after(() => other.stop());
  const socket = await connected(t, other.url, TRANSPORTS.polling);
  // A second WebSocket of the same session, opened by hand: it sends nothing.
  const { id } = socket.io.engine;
  const query = `EIO=4&transport=websocket&sid=${id}`;
  const silent = new WebSocket(`ws://127.0.0.1:${other.port}/socket.io/?${query}`);
  await withDeadline("close", new Promise((resolve) => silent.once("close", resolve)));
  assert.equal(await transportOf(socket), "polling");
});

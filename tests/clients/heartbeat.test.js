// Pings, pongs and what silence does, through a relay that can go silent.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  Inbox,
  TRANSPORTS,
  connected,
  next,
  numbered,
  reasonOf,
  request,
  upgraded,
} from "./client.js";
import { startProxy } from "./proxy.js";
import { startServer } from "./server.js";

const PING_INTERVAL_MS = 200;
const PING_TIMEOUT_MS = 400;
// A timer of Node may fire a little before the time that `performance.now` shows.
const TIMER_SLACK_MS = 5;
const server = await startServer(
  ...["--ping-interval-ms", `${PING_INTERVAL_MS}`],
  ...["--ping-timeout-ms", `${PING_TIMEOUT_MS}`],
);
after(() => server.stop());

/** A client behind a relay, and another that is told why it left. */
async function silenceable(t, options) {
  const proxy = await startProxy(t, server.port);
  const watcher = await connected(t, server.url, TRANSPORTS.websocket);
  const gone = new Inbox(watcher, "gone");
  const socket = await connected(t, proxy.url, options);
  return { proxy, gone, socket, id: socket.id };
}

for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`b4_18 b4_33 b4_19 a client that answers stays connected (${name})`, async (t) => {
    const { socket, id } = await silenceable(t, options);
    const pings = new Inbox(socket.io, "ping");
    const lost = new Inbox(socket, "disconnect");
    await pings.take(4);
    assert.equal(lost.size, 0);
    assert.equal(socket.id, id);
    socket.emit("disconnect-me", true);
    assert.deepEqual((await lost.take())[0][0], "io server disconnect");
  });

  const serverIds = name === "polling" ? "b4_3 b4_4 b4_28" : "b4_3 b4_27";
  test(`${serverIds} a client that is not heard is a ping timeout (${name})`, async (t) => {
    const { proxy, gone, socket, id } = await silenceable(t, options);
    const lost = next(socket, "disconnect");
    await next(socket.io, "ping");
    const silentSince = performance.now();
    proxy.hold("up");
    assert.equal(await reasonOf(gone, id), "ping timeout");
    // The pong to the ping just seen may have passed: then the next ping is the one not answered.
    const silentMs = performance.now() - silentSince;
    assert.ok(silentMs >= PING_TIMEOUT_MS - PING_INTERVAL_MS, `${silentMs} ms`);
    proxy.release();
    // On WebSocket the client is told; a poll that comes too late is refused.
    assert.match((await lost)[0], /^(transport (close|error)|ping timeout)$/);
    await next(socket, "connect");
    assert.notEqual(socket.id, id);
  });

  test(`b4_5 b4_6 b4_17 b4_20 silence is a ping timeout at both ends (${name})`, async (t) => {
    const { proxy, gone, socket, id } = await silenceable(t, options);
    const lost = next(socket, "disconnect");
    let heardAt;
    // Taken before the client starts its timer, however long this process is kept waiting.
    socket.io.engine.on("packet", () => (heardAt = performance.now()));
    await next(socket.io, "ping");
    proxy.hold("up", "down");
    assert.equal((await lost)[0], "ping timeout");
    const silentMs = performance.now() - heardAt;
    const expectedMs = PING_INTERVAL_MS + PING_TIMEOUT_MS;
    assert.ok(silentMs >= expectedMs - TIMER_SLACK_MS, `${silentMs} ms`);
    assert.equal(await reasonOf(gone, id), "ping timeout");
    proxy.release();
    await next(socket, "connect");
    assert.deepEqual(await request(socket, "ack", 1), [1]);
  });
}

test("b4_33 an upgrade does not disturb the heartbeat", async (t) => {
  const { socket, id } = await silenceable(t, {});
  const pings = new Inbox(socket.io, "ping");
  await upgraded(socket);
  await pings.take(4);
  assert.equal(socket.id, id);
  assert.equal(socket.connected, true);
});

test("b5_19 100 large messages do not starve the heartbeat", async (t) => {
  const { socket, id } = await silenceable(t, TRANSPORTS.websocket);
  const bursts = new Inbox(socket, "burst");
  const pings = new Inbox(socket.io, "ping");
  await request(socket, "burst", 100, 100_000);
  const sizes = bursts.drain().map(([i, bytes]) => [i, bytes.length]);
  assert.deepEqual(sizes, numbered(100).map(([i]) => [i, 100_000]));
  await pings.take(2);
  assert.equal(socket.id, id);
});

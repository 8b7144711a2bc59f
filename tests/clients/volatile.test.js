// Volatile events: sent only if the transport can take them now, whole or not at all.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Inbox, TRANSPORTS, connected, request } from "./client.js";
import { startServer } from "./server.js";

const server = await startServer();
after(() => server.stop());

// On polling a volatile event may find no request open, so one try proves nothing.
const TRIES_MAX = 100;

/** The steps that arrived, of those that the server took one right after the other. */
async function taken(socket, ...kinds) {
  const steps = new Inbox(socket, "step");
  await request(socket, "steps", kinds);
  socket.off("step");
  return steps.drain();
}

/** As `taken`, tried again until something arrived; by then the transport was writable. */
async function takenOnce(socket, ...kinds) {
  for (let i = 0; i < TRIES_MAX; i++) {
    const steps = await taken(socket, ...kinds);
    if (steps.length > 0) return steps;
  }
  return assert.fail(`nothing arrived in ${TRIES_MAX} tries`);
}

const BYTES = Buffer.from([1, 2, 3]);

const WIRE = {
  polling: { dropped: "b32_13", alone: "b32_15", two: "b32_17", after: "b32_21" },
  websocket: { dropped: "b32_14", alone: "b32_16", two: "b32_18", after: "b32_22" },
};

for (const [name, options] of Object.entries(TRANSPORTS)) {
  const ids = WIRE[name];
  // A WebSocket with nothing under way takes it the first time.
  const first = name === "websocket" ? taken : takenOnce;
  const start = async (t) => connected(t, server.url, options);

  test(`${ids.dropped} a volatile right after a normal emit is dropped (${name})`, async (t) => {
    const socket = await start(t);
    assert.deepEqual(await taken(socket, "normal", "volatile"), [[0]]);
    assert.deepEqual(await taken(socket, "normal", "volatile-binary"), [[0]]);
  });

  test(`${ids.alone} a volatile alone is delivered (${name})`, async (t) => {
    const socket = await start(t);
    assert.deepEqual(await first(socket, "volatile"), [[0]]);
    assert.deepEqual(await first(socket, "volatile-binary"), [[0, BYTES]]);
  });

  test(`${ids.two} of two volatiles in a row one is delivered (${name})`, async (t) => {
    const socket = await start(t);
    assert.deepEqual(await first(socket, "volatile", "volatile"), [[0]]);
  });

  test(`b32_19 of two binary volatiles one whole packet is delivered (${name})`, async (t) => {
    const socket = await start(t);
    assert.deepEqual(await first(socket, "volatile-binary", "volatile-binary"), [[0, BYTES]]);
  });

  test(`b32_20 the same for a broadcast (${name})`, async (t) => {
    const socket = await start(t);
    const binary = ["namespace-volatile-binary", "namespace-volatile-binary"];
    assert.deepEqual(await first(socket, ...binary), [[0, BYTES]]);
    const text = ["namespace-volatile", "namespace-volatile"];
    assert.deepEqual(await first(socket, ...text), [[0]]);
  });

  test(`${ids.after} normal emits after a dropped volatile are delivered (${name})`, async (t) => {
    const socket = await start(t);
    const kinds = ["normal", "volatile", "normal", "volatile-binary", "normal"];
    assert.deepEqual(await taken(socket, ...kinds), [[0], [2], [4]]);
  });

  test(`b26_19 a volatile right after a namespace emit is dropped (${name})`, async (t) => {
    const socket = await start(t);
    assert.deepEqual(await taken(socket, "namespace-normal", "namespace-volatile"), [[0]]);
  });

  test(`b26_20 a volatile alone to a namespace is delivered (${name})`, async (t) => {
    const socket = await start(t);
    assert.deepEqual(await first(socket, "namespace-volatile"), [[0]]);
  });
}

// Every way a connection ends, the reason each side is told, and that events flow again.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  Inbox,
  TRANSPORTS,
  connected,
  next,
  numbered,
  open,
  reasonOf,
  request,
  upgraded,
} from "./client.js";
import { startProxy } from "./proxy.js";
import { startServer } from "./server.js";

const server = await startServer();
after(() => server.stop());

const KINDS = { ...TRANSPORTS, upgrade: {} };

/** A connected client to which the server has nothing more to say by itself. */
async function settled(t, name, url) {
  const socket = open(t, url, KINDS[name]);
  await next(socket, "auth");
  if (name === "upgrade") {
    await upgraded(socket);
    // Only an answer over the WebSocket proves that the server has left polling, too.
    await request(socket, "ack");
  }
  return socket;
}

/** A client, and another that is told why it left. */
async function pair(t, name) {
  const watcher = await connected(t, server.url, TRANSPORTS.websocket);
  const gone = new Inbox(watcher, "gone");
  const socket = await settled(t, name, server.url);
  return { socket, gone, id: socket.id };
}

/**
 * A client behind a relay, on a server of its own where no other client's leaving ends its poll:
 * if it is on polling, the server holds a request of it.
 */
async function relayed(t, name) {
  const other = await startServer();
  t.after(() => other.stop());
  const proxy = await startProxy(t, other.port);
  const witness = await connected(t, other.url, TRANSPORTS.websocket);
  const socket = await settled(t, name, proxy.url);
  if (name === "polling") await proxy.polling();
  // Whatever reached the server before this is answered has been seen by it.
  await request(witness, "ack");
  return { other, proxy, witness, socket };
}

for (const name of Object.keys(KINDS)) {
  for (const close of [false, true]) {
    test(`b32_62 the server disconnects, close ${close} (${name})`, async (t) => {
      const { socket, gone, id } = await pair(t, name);
      socket.emit("disconnect-me", close);
      assert.equal((await next(socket, "disconnect"))[0], "io server disconnect");
      assert.equal(await reasonOf(gone, id), "server namespace disconnect");
      // The client does not come back by itself after this reason, but it may.
      assert.equal(socket.active, false);
      socket.connect();
      await next(socket, "connect");
      assert.notEqual(socket.id, id);
      assert.deepEqual(await request(socket, "ack", 1), [1]);
    });
  }

  test(`b36_3 the client disconnects (${name})`, async (t) => {
    const { socket, gone, id } = await pair(t, name);
    const left = next(socket, "disconnect");
    socket.disconnect();
    assert.equal((await left)[0], "io client disconnect");
    assert.equal(await reasonOf(gone, id), "client namespace disconnect");
    socket.connect();
    await next(socket, "connect");
    assert.deepEqual(await request(socket, "ack", 1), [1]);
  });

  const closeId = name === "polling" ? "b4_10" : "b4_11";
  test(`${closeId} the client closes its engine (${name})`, async (t) => {
    const { socket, gone, id } = await pair(t, name);
    socket.io.engine.close();
    assert.equal(await reasonOf(gone, id), "transport close");
    // To the client's manager this is a loss, so it connects again.
    if (!socket.connected) await next(socket, "connect");
    assert.notEqual(socket.id, id);
    assert.deepEqual(await request(socket, "ack", 1), [1]);
  });

  const cutId = name === "polling" ? "b4_15" : "b4_11";
  test(`${cutId} the client comes back after its connection is cut (${name})`, async (t) => {
    const { proxy, witness, socket } = await relayed(t, name);
    const { id } = socket;
    const gone = new Inbox(witness, "gone");
    const auths = new Inbox(socket, "auth");
    const lost = next(socket, "disconnect");
    proxy.cut();
    assert.match((await lost)[0], /^transport (close|error)$/);
    const reason = await reasonOf(gone, id);
    assert.equal(reason, name === "polling" ? "transport error" : "transport close");
    await auths.take();
    assert.notEqual(socket.id, id);
    assert.deepEqual(await request(socket, "ack", 1), [1]);
  });

  test(`b5_2 b5_7 b5_8 b4_37 what was emitted before a close is delivered (${name})`, async (t) => {
    const { socket } = await pair(t, name);
    const farewells = new Inbox(socket, "farewell");
    socket.emit("farewell", 100);
    assert.equal((await next(socket, "disconnect"))[0], "io server disconnect");
    assert.deepEqual(farewells.drain(), numbered(100));
  });

  const restartId = name === "polling" ? "b4_7" : "b4_8";
  test(`${restartId} b4_9 b32_42 events flow again after a server restart (${name})`, async (t) => {
    const { other, socket } = await relayed(t, name);
    const echoes = new Inbox(socket, "echo");
    const lost = next(socket, "disconnect");
    await other.stop();
    assert.equal((await lost)[0], "transport close");
    // What the client emits meanwhile waits for the connection.
    for (const [i] of numbered(20)) socket.emit("echo", i);
    await other.start();
    assert.deepEqual(await echoes.take(20), numbered(20));
    assert.equal(socket.connected, true);
  });

  test(`m65 events flow again on the same port after the server was killed (${name})`, async (t) => {
    const { other, socket } = await relayed(t, name);
    const echoes = new Inbox(socket, "echo");
    const { id } = socket;
    const lost = next(socket, "disconnect");
    await other.kill();
    assert.match((await lost)[0], /^transport (close|error)$/);
    for (const [i] of numbered(20)) socket.emit("echo", i);
    // Connections of the old process may linger in the kernel: the port is taken all the same.
    await other.start();
    assert.deepEqual(await echoes.take(20), numbered(20));
    assert.notEqual(socket.id, id);
  });
}

test("b4_13 clients that leave while they are being upgraded do no harm", async (t) => {
  const { socket, gone } = await pair(t, "websocket");
  for (let round = 0; round < 10; round++) {
    const leaver = open(t, server.url);
    await next(leaver, "connect");
    const { id } = leaver;
    const { engine } = leaver.io;
    if (!engine.upgrading && engine.transport.name === "polling") {
      await Promise.race([next(engine, "upgrading"), next(engine, "upgrade")]);
    }
    leaver.disconnect();
    assert.equal(await reasonOf(gone, id), "client namespace disconnect");
  }
  assert.deepEqual(await request(socket, "ack", 1), [1]);
});

test("b34_11 a broadcast while clients come and go misses none that stay", async (t) => {
  const { socket } = await pair(t, "polling");
  const sender = await connected(t, server.url, TRANSPORTS.websocket);
  const news = new Inbox(socket, "news");
  for (let round = 0; round < 20; round++) {
    const passer = open(t, server.url);
    await next(passer, "connect");
    sender.emit("to", [], [], "news", round);
    passer.disconnect();
  }
  assert.deepEqual(await news.take(20), numbered(20));
});

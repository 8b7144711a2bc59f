// Joining and leaving namespaces, and what a violation of the protocol does to a session.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Manager } from "socket.io-client";
import { Inbox, TRANSPORTS, bare, connected, next, open, reasonOf, request } from "./client.js";
import { startServer } from "./server.js";

const server = await startServer();
after(() => server.stop());

/** Sockets of these namespaces over one connection. */
function shared(t, options, ...namespaces) {
  const manager = new Manager(server.url, { reconnectionDelay: 20, ...options });
  const sockets = namespaces.map((name) => manager.socket(name));
  t.after(() => {
    manager.reconnection(false);
    for (const socket of sockets) socket.disconnect();
  });
  return sockets;
}

for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`b26_4 a client joins the default namespace (${name})`, async (t) => {
    const socket = await connected(t, server.url, options);
    const [who] = await request(socket, "whoami");
    assert.equal(who.id, socket.id);
    assert.deepEqual(who.rooms, [socket.id]);
    assert.match(socket.id, /^[\w-]{20}$/);
    assert.notEqual(socket.id, socket.io.engine.id);
  });

  test(`b26_9 the empty name is the default namespace (${name})`, async (t) => {
    const one = await connected(t, server.url, options);
    const other = await connected(t, `${server.url}/`, options);
    const news = new Inbox(other, "news");
    await request(one, "to", [], [], "news", "for all");
    assert.deepEqual(await news.take(), [["for all"]]);
  });

  test(`b26_14 an unknown namespace is refused and the session goes on (${name})`, async (t) => {
    const [known, unknown] = shared(t, options, "/", "/unknown");
    const [[error]] = await Promise.all([next(unknown, "connect_error"), next(known, "connect")]);
    assert.equal(error.message, "Invalid namespace");
    assert.equal(unknown.connected, false);
    assert.deepEqual(await request(known, "ack", 1), [1]);
  });

  test(`b26_14 a namespace is known by its exact name (${name})`, async (t) => {
    for (const wrong of ["/Custom", "/custom/", "/custom/deeper", "/%63ustom"]) {
      const socket = open(t, `${server.url}${wrong}`, { ...options, reconnection: false });
      const [error] = await next(socket, "connect_error");
      assert.equal(error.message, "Invalid namespace", wrong);
    }
  });

  test(`b24_1 several namespaces over one connection do not mix (${name})`, async (t) => {
    const [main, custom] = shared(t, options, "/", "/custom");
    await Promise.all([next(main, "connect"), next(custom, "connect")]);
    assert.notEqual(main.id, custom.id);
    const inboxes = [new Inbox(main, "echo"), new Inbox(custom, "echo")];
    for (let i = 0; i < 100; i++) {
      main.emit("echo", "main", i);
      custom.emit("echo", "custom", i);
    }
    for (const [i, who] of ["main", "custom"].entries()) {
      const expected = Array.from({ length: 100 }, (_, n) => [who, n]);
      assert.deepEqual(await inboxes[i].take(100), expected);
    }
  });

  test(`b32_24 b32_29 acks and binary work on another namespace (${name})`, async (t) => {
    const socket = await connected(t, `${server.url}/custom`, options);
    const args = [{ a: Buffer.from([1]) }, Buffer.from([2])];
    assert.deepEqual(await request(socket, "ack", ...args), args);
    socket.once("question", (a, b, ack) => ack(a, b));
    socket.emit("ask", 5_000, ...args);
    assert.deepEqual(await next(socket, "answered"), [true, ...args]);
  });

  test(`b36_3 leaving one namespace leaves the other alone (${name})`, async (t) => {
    const watcher = await connected(t, `${server.url}/custom`, options);
    const gone = new Inbox(watcher, "gone");
    const [main, custom] = shared(t, options, "/", "/custom");
    await Promise.all([next(main, "connect"), next(custom, "connect")]);
    const { id } = custom;
    custom.disconnect();
    assert.equal(await reasonOf(gone, id), "client namespace disconnect");
    assert.deepEqual(await request(main, "ack", 1), [1]);
    // It may come back over the same connection, as a new socket.
    custom.connect();
    await next(custom, "connect");
    assert.notEqual(custom.id, id);
    assert.deepEqual(await request(custom, "ack", 2), [2]);
  });

  test(`b32_62 the server ends one namespace or, with close, all (${name})`, async (t) => {
    const [main, custom] = shared(t, { ...options, reconnection: false }, "/", "/custom");
    await Promise.all([next(main, "connect"), next(custom, "connect")]);
    custom.emit("disconnect-me", false);
    assert.deepEqual((await next(custom, "disconnect"))[0], "io server disconnect");
    assert.deepEqual(await request(main, "ack", 1), [1]);
    custom.connect();
    await next(custom, "connect");

    const reasons = [new Inbox(main, "disconnect"), new Inbox(custom, "disconnect")];
    const closed = next(main.io, "close");
    custom.emit("disconnect-me", true);
    for (const inbox of reasons) assert.equal((await inbox.take())[0][0], "io server disconnect");
    await closed;
  });

  test(`b26_15 the same namespace twice from one page uses two sessions (${name})`, async (t) => {
    // Not forced: the client itself decides that one connection cannot carry both.
    const one = await connected(t, `${server.url}/custom`, { ...options, forceNew: false });
    const two = await connected(t, `${server.url}/custom`, { ...options, forceNew: false });
    assert.notEqual(one.io.engine.id, two.io.engine.id);
    assert.notEqual(one.id, two.id);
  });

  test(`b36_2 auth reaches the server, per namespace (${name})`, async (t) => {
    for (const namespace of ["/", "/custom"]) {
      const auth = { token: `☃ ${namespace}`, nested: [1, { a: null }] };
      const socket = open(t, server.url + namespace, { ...options, auth });
      assert.deepEqual(await next(socket, "auth"), [auth]);
    }
    const socket = open(t, server.url, { ...options, auth: (give) => give({ later: true }) });
    assert.deepEqual(await next(socket, "auth"), [{ later: true }]);
    assert.deepEqual(await next(open(t, server.url, options), "auth"), [{}]);
  });

  test(`b26_24 a session that joins nothing is closed (${name})`, async (t) => {
    const other = await startServer("--connect-timeout-ms", "200");
    t.after(() => other.stop());
    const kept = await connected(t, other.url, options);
    const engine = await bare(t, other.url, options);
    const [reason] = await next(engine, "close");
    assert.equal(reason, "transport close");
    assert.deepEqual(await request(kept, "ack", 1), [1]);
  });

  // Each is a whole packet; the digit for the Engine.IO message is added by the client.
  const violations = {
    "b21_6 a second CONNECT": ["0", "0"],
    "b21_7 an EVENT before CONNECT": ['2["too early"]'],
    "b21_7 an EVENT on a namespace not joined": ["0", '2/custom,["not joined"]'],
    "b21_7 a DISCONNECT before CONNECT": ["1"],
    "b21_8 an undecodable packet": ["0", "garbage"],
    "b32_45 b32_47 a malformed binary header": ["0", "5woooot"],
    "b32_48 a bare binary header": ["0", "5"],
    "b32_46 a CONNECT_ERROR from a client": ["0", "44/"],
    "b21_8 broken JSON": ["0", '2["a"'],
    "b21_8 a reserved event name": ["0", '2["disconnect"]'],
    "b21_8 text where binary is due": ["0", '51-["a",{"_placeholder":true,"num":0}]', "2[1]"],
    "b21_8 an attachment that nobody announced": ["0", Buffer.from([1])],
  };
  for (const [what, packets] of Object.entries(violations)) {
    test(`${what} closes that session only (${name})`, async (t) => {
      const other = await connected(t, server.url, options);
      const engine = await bare(t, server.url, options);
      const closed = next(engine, "close");
      const messages = new Inbox(engine, "message");
      const [first, ...rest] = packets;
      engine.write(first);
      if (first === "0") {
        const [[answer]] = await messages.take();
        assert.match(answer, /^0\{"sid":"[\w-]{20}"\}$/);
        for (const packet of rest) engine.write(packet);
      }
      assert.equal((await closed)[0], "transport close");
      assert.deepEqual(await request(other, "ack", 1), [1]);
    });
  }
}

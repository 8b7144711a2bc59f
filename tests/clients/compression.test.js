// permessage-deflate between this server and the implementation that Node's clients use.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { WebSocket } from "ws";
import { Inbox, TRANSPORTS, connected, next, request, upgraded } from "./client.js";
import { startServer } from "./server.js";

const words = (count, seed) => {
  let text = "";
  for (let i = 0; i < count; i++) text += `word${(i * seed) % 97} `;
  return text;
};

/** Strings that get shorter and buffers that hardly do, of many sizes. */
const payloads = () => {
  const list = [];
  for (const size of [0, 1, 10, 100, 1_000, 5_000, 40_000]) {
    list.push(words(size, size + 7), Buffer.from(words(size, 3)));
    list.push(Buffer.from(Array.from({ length: size }, (_, i) => (i * i * 31 + (i >> 3) * 17) & 255)));
  }
  return list;
};

/** What a client's offer may hold, and what must be agreed on then. */
const offers = [
  [true, {}],
  [{ serverNoContextTakeover: true }, { server_no_context_takeover: true }],
  [{ clientNoContextTakeover: true }, { client_no_context_takeover: true }],
  [{ serverMaxWindowBits: 9 }, { server_max_window_bits: 9 }],
  [{ serverMaxWindowBits: 12, threshold: 0 }, { server_max_window_bits: 12 }],
  [{ clientMaxWindowBits: 10, threshold: 0 }, { client_max_window_bits: 10 }],
];

/** A client of `/` that does nothing but what it is told to. */
async function raw(t, server, perMessageDeflate) {
  const url = `ws://127.0.0.1:${server.port}/socket.io/?EIO=4&transport=websocket`;
  const socket = new WebSocket(url, { perMessageDeflate });
  t.after(() => socket.terminate());
  const inbox = new Inbox(socket, "message");
  // Others that leave are announced to everybody.
  const take = async () => {
    for (;;) {
      const text = (await inbox.take())[0][0].toString();
      if (!text.startsWith('42["gone"')) return text;
    }
  };
  let agreed;
  socket.once("upgrade", (response) => (agreed = response.headers["sec-websocket-extensions"]));
  socket.once("open", () => socket.send("40"));
  for (const start of ["0{", "40{", '42["auth"']) {
    assert.ok((await take()).startsWith(start));
  }
  return { socket, take, agreed };
}

for (const contexts of ["none", "kept"]) {
  const server = await startServer("--per-message-deflate", contexts);
  after(() => server.stop());

  test(`p11_4 every payload comes back from the official client (contexts: ${contexts})`, async (t) => {
    const socket = await connected(t, server.url, {
      ...TRANSPORTS.websocket,
      perMessageDeflate: { threshold: 0 },
    });
    assert.match(socket.io.engine.transport.ws.extensions, /^permessage-deflate/);
    const echoes = new Inbox(socket, "echo");
    for (let round = 0; round < 2; round++) {
      for (const payload of payloads()) socket.emit("echo", payload);
      for (const payload of payloads()) assert.deepEqual(await echoes.take(), [[payload]]);
    }
    const before = socket.io.engine.transport.ws._socket.bytesRead;
    assert.deepEqual(await request(socket, "ack", words(20_000, 5)), [words(20_000, 5)]);
    const read = socket.io.engine.transport.ws._socket.bytesRead - before;
    assert.ok(read < words(20_000, 5).length / 10, `${read} bytes`);
  });

  test(`p11_4 every offer is understood as it was meant (contexts: ${contexts})`, async (t) => {
    for (const [offered, expected] of offers) {
      const { socket, take, agreed } = await raw(t, server, offered);
      for (const [name, value] of Object.entries(expected)) {
        const text = value === true ? name : `${name}=${value}`;
        assert.ok(agreed.split("; ").includes(text), `${text} of ${agreed}`);
      }
      for (let round = 0; round < 3; round++) {
        for (const size of [1, 300, 3_000, 30_000]) {
          const message = `42["echo",${JSON.stringify(words(size, round + size))}]`;
          socket.send(message);
          assert.ok((await take()) === message);
        }
      }
    }
  });

  test(`b7_2 a broadcast reaches all, however they read (contexts: ${contexts})`, async (t) => {
    const clients = [await raw(t, server, false)];
    for (const [offered] of offers) clients.push(await raw(t, server, offered));
    const [{ socket: sender }] = clients;
    for (let round = 0; round < 5; round++) {
      const text = JSON.stringify(words(1_000, round));
      sender.send(`42["in",[],[],"news",${text}]`);
      // Each has something of its own between two broadcasts.
      for (const { take } of clients) assert.ok((await take()) === `42["news",${text}]`);
      for (const { socket } of clients) socket.send(`42["echo",${text}]`);
      for (const { take } of clients) assert.ok((await take()) === `42["echo",${text}]`);
    }
  });

  test(`p11_4 compression begins with the upgrade (contexts: ${contexts})`, async (t) => {
    const socket = await connected(t, server.url, { transports: ["polling", "websocket"] });
    const echoes = new Inbox(socket, "echo");
    for (const payload of payloads()) socket.emit("echo", payload);
    await upgraded(socket);
    for (const payload of payloads()) socket.emit("echo", payload);
    for (const payload of [...payloads(), ...payloads()]) {
      assert.deepEqual(await echoes.take(), [[payload]]);
    }
    assert.match(socket.io.engine.transport.ws.extensions, /^permessage-deflate/);
  });
}

test("cve_2026_27571 a bomb ends its sender and nobody else", async (t) => {
  const server = await startServer("--per-message-deflate", "none");
  t.after(() => server.stop());
  const watcher = await connected(t, server.url, TRANSPORTS.websocket);
  const { socket } = await raw(t, server, { threshold: 0 });
  socket.send(Buffer.alloc(50_000_000));
  const [code] = await next(socket, "close");
  assert.equal(code, 1009);
  assert.deepEqual(await request(watcher, "ack", 1), [1]);
});

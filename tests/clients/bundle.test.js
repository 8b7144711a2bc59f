// The files of the client that the server hands to browsers: those of the npm package, and working.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { next } from "./client.js";
import { startServer } from "./server.js";

const folder = new URL("node_modules/socket.io-client/dist/", import.meta.url);
const files = ["js", "min.js", "esm.min.js", "msgpack.min.js"].map((end) => `socket.io.${end}`);

const server = await startServer("--parser", "msgpack", "--client", fileURLToPath(folder));
after(() => server.stop());

for (const file of files.flatMap((file) => [file, `${file}.map`])) {
  test(`b28_1 b28_3 b28_4 b28_5 b28_9 b28_10 b28_11 b28_12 the client's ${file}`, async () => {
    const response = await fetch(`${server.url}/socket.io/${file}`);
    assert.equal(response.status, 200);
    const type = file.endsWith(".map") ? "application/json" : "application/javascript";
    assert.equal(response.headers.get("content-type"), `${type}; charset=utf-8`);
    assert.equal(response.headers.get("etag"), '"4.8.4"');
    const served = Buffer.from(await response.arrayBuffer());
    assert.ok(served.equals(await readFile(new URL(file, folder))));
  });
}

test("b28_9 the msgpack build that is served speaks to the server that serves it", async (t) => {
  // What a browser would give it: the build knows nothing of Node.js.
  globalThis.WebSocket ??= WebSocket;
  const response = await fetch(`${server.url}/socket.io/socket.io.msgpack.min.js`);
  const module = { exports: {} };
  new Function("module", "exports", await response.text())(module, module.exports);
  const socket = module.exports(server.url, { transports: ["websocket"], forceNew: true });
  t.after(() => socket.disconnect());
  socket.emit("echo", "hello", new Uint8Array([1, 2, 3]).buffer);
  const [text, binary] = await next(socket, "echo");
  assert.equal(text, "hello");
  assert.deepEqual(new Uint8Array(binary), new Uint8Array([1, 2, 3]));
});

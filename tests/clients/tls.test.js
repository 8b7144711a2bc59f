// The official client over TLS that the server ends, with certificates of its own in every form that
// Node.js takes. They are made by the openssl program.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { TRANSPORTS, next, open } from "./client.js";
import { startServer } from "./server.js";

const isReference = process.env.FANFARE_SERVER === "reference";
const skip = isReference && "the reference of these tests speaks no TLS";

let folder;
let server;
let asking;

const path = (name) => join(folder, name);
const openssl = (...args) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });

/** Writes NAME.key and NAME.pem, signed by the authority. */
function certify(name, extensions) {
  openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", `${name}.key`, "-out", `${name}.csr`,
    "-subj", `/CN=${name}`);
  writeFileSync(path(`${name}.ext`), extensions);
  openssl("x509", "-req", "-in", `${name}.csr`, "-CA", "ca.pem", "-CAkey", "ca.key",
    "-CAcreateserial", "-days", "2", "-extfile", `${name}.ext`, "-out", `${name}.pem`);
}

before(async () => {
  if (skip) return;
  folder = mkdtempSync(join(tmpdir(), "fanfare-tls-"));
  openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
    "-subj", "/CN=authority", "-days", "2");
  certify("server", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n");
  certify("client", "subjectAltName=DNS:client\nextendedKeyUsage=clientAuth\n");
  openssl("pkcs12", "-export", "-in", "client.pem", "-inkey", "client.key", "-out", "client.p12",
    "-passout", "pass:secret");
  const files = ["--tls-certificate", path("server.pem"), "--tls-key", path("server.key")];
  server = await startServer(...files);
  asking = await startServer(...files, "--tls-client-authority", path("ca.pem"));
});

after(async () => {
  await server?.stop();
  await asking?.stop();
  if (folder) rmSync(folder, { recursive: true });
});

const url = (of) => of.url.replace("http:", "https:");
const read = (name) => readFileSync(path(name));

/** An event goes there and back. */
async function echoes(t, of, options) {
  const socket = open(t, url(of), { reconnection: false, ...options });
  await new Promise((resolve, reject) => {
    socket.once("connect_error", reject);
    next(socket, "connect").then(resolve, reject);
  });
  assert.equal(await socket.timeout(5000).emitWithAck("ack", "over TLS"), "over TLS");
}

test("b5_21 a client with a key and a certificate polls", { skip }, async (t) => {
  await echoes(t, asking, { ...TRANSPORTS.polling, ...withKey() });
});

test("b5_22 a client that knows the authority alone polls", { skip }, async (t) => {
  await echoes(t, server, { ...TRANSPORTS.polling, ca: read("ca.pem") });
});

test("b5_23 a client with a key and a certificate has a WebSocket", { skip }, async (t) => {
  await echoes(t, asking, { ...TRANSPORTS.websocket, ...withKey() });
});

test("b5_24 a client with a PKCS#12 file polls", { skip }, async (t) => {
  await echoes(t, asking, { ...TRANSPORTS.polling, ...withFile() });
});

test("b5_25 a client with a PKCS#12 file has a WebSocket", { skip }, async (t) => {
  await echoes(t, asking, { ...TRANSPORTS.websocket, ...withFile() });
});

test("a client begins with polling and upgrades, over TLS", { skip }, async (t) => {
  const socket = open(t, url(server), { ca: read("ca.pem") });
  const upgraded = next(socket.io.engine, "upgrade");
  await next(socket, "connect");
  await upgraded;
  assert.equal(await socket.timeout(5000).emitWithAck("ack", 1), 1);
});

for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`a client without a certificate is refused where one is asked for: ${name}`, { skip },
    async (t) => {
      const socket = open(t, url(asking), { reconnection: false, ca: read("ca.pem"), ...options });
      await next(socket, "connect_error");
      assert.equal(socket.connected, false);
    });
}

/** What a client takes in PEM. */
function withKey() {
  return { ca: read("ca.pem"), cert: read("client.pem"), key: read("client.key") };
}

/** What a client takes in one file. */
function withFile() {
  return { ca: read("ca.pem"), pfx: read("client.p12"), passphrase: "secret" };
}

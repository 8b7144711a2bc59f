// The payloads of tests/desync/payloads.txt, to the server itself and through proxies that keep
// connections to it. The proxies mark each request that they pass on: the server serves none that
// has no mark, and every answer reaches the client that asked. Then official clients, through the
// same proxies.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { converse, get } from "../desync/conversation.mjs";
import { bytesOf, payloads } from "../desync/payloads.mjs";
import { PROXIES, missing, startProxy, versionOf } from "../desync/proxies.mjs";

const CLIENT = new URL("../clients/node_modules/socket.io-client/package.json", import.meta.url);
/** Payloads under way at one time, so that answers can go to the wrong client. */
const AT_ONCE = 16;

export default {
  name: "m05 no payload desynchronises the server and a proxy in front of it",
  rows: [5],
  seconds: 240,

  needs() {
    const programs = missing();
    if (programs.length > 0) return `not installed: ${programs.join(", ")}`;
    return existsSync(CLIENT) ? null : "the clients are not installed: tests/setup.sh";
  },

  async run(drill) {
    // With two, connections of the proxies are handed over to the shard of a session.
    const server = await drill.start("conformance", "--shards", "2");
    const direct = await sendAll(server, server.port);
    for (const { payload, answers, echoes } of direct) {
      const statuses = answers.map(({ status }) => status);
      assert.deepEqual(statuses, payload.isServed ? [200, 200] : payload.answers, payload.text);
      assert.ok(!echoes.some(({ target }) => target.startsWith("/smuggled")), payload.text);
    }
    const seen = [`${direct.length} payloads are answered as in the table`];
    for (const name of Object.keys(PROXIES)) {
      const port = await startProxy(drill, name, server);
      const all = await sendAll(server, port);
      const echoes = all.flatMap(({ echoes, alone }) => [...echoes, alone]);
      const marks = new Set(echoes.map(({ mark }) => mark));
      assert.ok(marks.size === echoes.length && !marks.has("-"), "a request that no proxy has sent");
      seen.push(`behind ${name} ${versionOf(name)} ${summary(all)}`);
      await clientsWork(drill, port);
    }
    return seen.join("; ");
  },
};

/** Sends all payloads to a port; gives what became of each. */
async function sendAll(server, port) {
  await get(server.port, "/asked");
  const waiting = payloads();
  const all = [];
  const worker = async () => {
    for (let payload = waiting.shift(); payload; payload = waiting.shift()) {
      all.push(await send(payload, port));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const served = (await get(server.port, "/asked")).split("\n").sort();
  const answered = all.flatMap(({ echoes, alone }) => [...echoes, alone]).map(({ body }) => body).sort();
  assert.deepEqual(served, answered, "what was served is what was answered");
  return all;
}

/** Sends a payload with a request behind it, and then another request on a connection of its own. */
async function send(payload, port) {
  const { id, text } = payload;
  const next = `GET /next-${id} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
  const all = Buffer.concat([bytesOf(payload, "/socket.io/"), Buffer.from(next)]);
  const answers = await converse(port, all);
  const echoes = answers.map(echoOf).filter(Boolean);
  const targets = echoes.map(({ target }) => target);
  const order = [`/payload-${id}`, `/smuggled-${id}`, `/next-${id}`];
  assert.deepEqual(targets, order.filter((target) => targets.includes(target)), `answers to ${text}`);
  assert.ok(answers.length <= order.length, `too many answers to ${text}`);
  const strange = answers.filter((answer) => !echoOf(answer) && !isRefusal(answer) && !isUpgrade(answer));
  assert.deepEqual(strange, [], `neither served nor refused: ${text}`);
  const alone = echoOf({ body: await get(port, `/alone-${id}`) });
  assert.equal(alone?.target, `/alone-${id}`, `another client behind ${text}`);
  return { payload, answers, echoes, alone };
}

/** What the server was asked, if it has served a request. */
function echoOf({ body }) {
  const parts = /^[A-Z]+ (\/[a-z]+-\d+)\S* \d+ (\S+)$/.exec(body);
  return parts && { body, target: parts[1], mark: parts[2] };
}

/** Whether an answer is an error. In HTTP/0.9, which nginx serves, none has a status. */
function isRefusal({ status }) {
  return status === 0 || status >= 400;
}

/** Whether a connection has become a WebSocket, for the proxy as well: what follows are frames. */
function isUpgrade({ status }) {
  return status === 101;
}

/** How many payloads are refused by whom. */
function summary(all) {
  const counts = { "the server refuses": 0, "the proxy refuses": 0, "the proxy makes plain": 0 };
  for (const { payload, answers, echoes } of all) {
    const isServed = answers.some(isUpgrade) || echoes.some(({ target }) => target.startsWith("/payload"));
    const isProxys = answers.length === 0 || answers.some(({ body }) => /^<html>/i.test(body));
    if (payload.isServed) {
      // What a proxy does not like is its own affair.
      assert.ok(echoes.length === 2 || isProxys, `what is plain is served: ${payload.text}`);
      continue;
    }
    counts[isServed ? "the proxy makes plain" : isProxys ? "the proxy refuses" : "the server refuses"] += 1;
  }
  return Object.entries(counts).map(([who, count]) => `${who} ${count}`).join(", ");
}

/** Official clients on polling, on WebSocket, and with the upgrade from one to the other. */
async function clientsWork(drill, port) {
  const { TRANSPORTS, connected, request, upgraded } = await import("../clients/client.js");
  const bytes = Buffer.from([0, 1, 2, 255]);
  for (const [name, options] of Object.entries({ ...TRANSPORTS, both: {} })) {
    const socket = await connected(drill, `http://127.0.0.1:${port}`, options);
    if (name === "both") await upgraded(socket);
    assert.deepEqual(await request(socket, "ack", "☃", bytes), ["☃", bytes]);
    const [{ transport }] = await request(socket, "whoami");
    assert.equal(transport, name === "both" ? "websocket" : name);
  }
}

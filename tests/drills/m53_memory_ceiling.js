// Clients ask for more than the memory of a control group holds, and read none of it: nobody new is
// let in meanwhile, those for whom most is queued go first, a client that reads is served all the time,
// and the kernel has no reason to end the process. The same for many clients who each begin a message
// that is not large, and for many connections who each begin a request.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { connect as dial } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { join } from "./support/client.js";
import { listenTo } from "./support/network.js";

const LIMIT_BYTES = 256 << 20;
const HOARDERS = 120;
/** The kernel takes about half of it, which is not memory of the process. */
const BYTES_EACH = 6 << 20;
/** The older hierarchy, whose files these are. */
const GROUPS = "/sys/fs/cgroup/memory";
const script = (name) => fileURLToPath(new URL(`support/${name}`, import.meta.url));
const stalled = script("stalled.py");
/** Who begins what they do not finish, how many and how much of it; more than there is memory. */
const BEGINNERS = [
  { kind: "messages", count: 12_000, bytes: 30_000 },
  { kind: "heads", count: 17_000, bytes: 15_800 },
];

export default {
  name: "m53 a server that is asked for more memory than its control group has lives on",
  rows: [53],
  seconds: 300,

  needs() {
    if (process.getuid() !== 0) return "root, to make a control group";
    return existsSync(`${GROUPS}/memory.limit_in_bytes`) ? null : "control groups of version 1";
  },

  async run(drill) {
    const seen = [await deaf(drill)];
    for (const beginners of BEGINNERS) seen.push(await unfinished(drill, beginners));
    return seen.join("; ");
  },
};

/** A server in a control group of its own, and a client of it that reads. */
async function begin(drill, name) {
  const group = `${GROUPS}/fanfare-${process.pid}-${name}`;
  mkdirSync(group);
  drill.after(() => rmdirSync(group));
  writeFileSync(`${group}/memory.limit_in_bytes`, String(LIMIT_BYTES));
  drill.prefix = ["sh", "-c", `echo $$ > ${group}/cgroup.procs && exec "$@"`, "sh"];
  const server = await drill.start("benchmark");
  const reader = await join(drill, server);
  const peak = () => mib(Number(readFileSync(`${group}/memory.max_usage_in_bytes`, "utf8")));
  return { server, reader, peak };
}

const mib = (bytes) => (bytes / (1 << 20)).toFixed(0);

/** Clients that ask for more than there is, and do not read. */
async function deaf(drill) {
  const { server, reader, peak } = await begin(drill, "deaf");
  const hoarders = listenTo(drill, "python3", stalled, server.port, HOARDERS);
  assert.equal(await hoarders.hear(), "ready");
  hoarders.say(`hoard ${BYTES_EACH}`);
  const watched = await watch(server, reader, hoarders.hear());
  hoarders.say("count");
  const gone = Number(await hoarders.hear());
  hoarders.say("reset");
  await hoarders.hear();
  await ends(server, reader);
  assert.ok(watched.refused > 0, `nobody new was refused; peak ${peak()} MiB, ${gone} let go, ${JSON.stringify(watched)}`);
  assert.ok(gone > 0 && gone < HOARDERS, `${gone} of ${HOARDERS} were let go`);
  return (
    `${HOARDERS} clients asked for ${mib(HOARDERS * BYTES_EACH)} MiB of ${mib(LIMIT_BYTES)} and read nothing: ` +
    `${gone} were let go, ${watched.refused} who were new were told to come back, one who reads was ` +
    `answered ${watched.answered} times, ${watched.slowest.toFixed(0)} ms at most; peak ${peak()} MiB`
  );
}

/** Many of whom each begins a little, which is more than there is. */
async function unfinished(drill, { kind, count, bytes }) {
  const { server, reader, peak } = await begin(drill, kind);
  const beginners = listenTo(drill, "python3", script("unfinished.py"), server.port, kind, count, bytes);
  const watched = await watch(server, reader, beginners.hear());
  beginners.say("count");
  const gone = Number(await beginners.hear());
  beginners.end();
  await ends(server, reader);
  assert.ok(gone > 0 && gone < count, `${gone} of ${count} were let go; peak ${peak()} MiB`);
  assert.ok(peak() > mib(LIMIT_BYTES) / 2, `memory has not run short: ${peak()} MiB`);
  return `of ${count} unfinished ${kind} of ${bytes} bytes ${gone} were let go, one who reads was answered ${watched.answered} times; peak ${peak()} MiB`;
}

/** All is over: who reads is there, and somebody new is let in. */
async function ends(server, reader) {
  const until = Date.now() + 20_000;
  let status;
  do {
    await sleep(1_000);
    ({ status } = await handshake(server.port));
  } while (status !== 200 && Date.now() < until);
  assert.ok(reader.connected, "the client that reads was let go");
  assert.equal(status, 200, "somebody new, when all is over");
}

/** What somebody new and a client that reads see until the others are done, and a while longer. */
async function watch(server, reader, hoarded) {
  const seen = { refused: 0, answered: 0, slowest: 0 };
  let until = Infinity;
  void hoarded.then(() => (until = Date.now() + 3_000));
  while (Date.now() < until) {
    const begun = performance.now();
    await reader.timeout(10_000).emitWithAck("echo", "still there?");
    seen.answered++;
    seen.slowest = Math.max(seen.slowest, performance.now() - begun);
    const { status, head } = await handshake(server.port);
    if (status === 503) {
      assert.match(head, /\r\nRetry-After: \d+\r\n/i);
      seen.refused++;
    }
    await sleep(20);
  }
  return seen;
}

/** The answer to somebody new, who leaves again. */
function handshake(port) {
  return new Promise((resolve) => {
    const socket = dial({ host: "127.0.0.1", port });
    socket.write("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: drill\r\nConnection: close\r\n\r\n");
    let head = "";
    socket.on("data", (data) => (head += data.toString("latin1")));
    // While memory is critically short nobody is accepted.
    socket.on("error", () => {});
    socket.on("close", () => resolve({ status: head ? Number(head.split(" ")[1]) : 0, head }));
  });
}

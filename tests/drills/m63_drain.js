// SIGTERM, while a handler waits for an answer of each of 10,000 clients: every answer is taken, every
// event that the handlers are for is acknowledged, all clients are sent away, and the process ends in
// time.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { lacking } from "./support/client.js";
import { listenTo } from "./support/network.js";

const CLIENTS = 10_000;
/** The window in which clients are sent away, and a second. */
const ENDS_WITHIN_MS = 31_000;
const asked = fileURLToPath(new URL("support/asked.js", import.meta.url));

export default {
  name: "m63 after SIGTERM ten thousand events that were received before are acknowledged",
  rows: [63],
  seconds: 120,

  needs: lacking,

  async run(drill) {
    const server = await drill.start("conformance", "--shards", 2);
    const clients = listenTo(drill, process.execPath, asked, `127.0.0.1:${server.port}`, CLIENTS);
    assert.equal(await clients.hear(), "ready");
    const begun = performance.now();
    const exited = server.exits("SIGTERM");
    clients.say("answer");
    const code = await exited;
    const took = performance.now() - begun;
    const told = JSON.parse(await clients.hear());
    assert.deepEqual({ code, ...told }, { code: 0, acknowledged: CLIENTS, reasons: { "transport close": CLIENTS } });
    assert.ok(took < ENDS_WITHIN_MS, `it took ${took.toFixed(0)} ms`);
    return `${CLIENTS} answers that came after the signal were taken and the events that they were for acknowledged; the process ended with 0 after ${(took / 1_000).toFixed(1)} s`;
  },
};

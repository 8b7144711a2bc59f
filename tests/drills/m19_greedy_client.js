// One client that sends events without an end, as fast as they are taken, beside others whose events
// are answered. The shard has a core of its own, as in a machine that is not the clients' as well.
import assert from "node:assert/strict";
import { cpus } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { echo, lacking, median } from "./support/crowd.js";
import { listenTo } from "./support/network.js";

const SECONDS = 5;
const ROUNDS = 3;
const P99_MAX_MS = 5;
const stalled = fileURLToPath(new URL("support/stalled.py", import.meta.url));

export default {
  name: "m19 a client that sends without an end has a share of a turn and no more",
  rows: [19],
  seconds: ROUNDS * 2 * (SECONDS + 10),

  needs() {
    return cpus().length < 2 ? "two cores" : lacking();
  },

  async run(drill) {
    drill.prefix = ["taskset", "--cpu-list", "0"];
    const server = await drill.start("benchmark");
    // The flood is to take what is left of the other core, not what measures.
    const greedy = listenTo(drill, "nice", "-n", 10, "taskset", "--cpu-list", 1, "python3", stalled, server.port, 1);
    assert.equal(await greedy.hear(), "ready");
    const runs = { alone: [], beside: [] };
    const rates = [];
    for (let round = 0; round < ROUNDS; round++) {
      runs.alone.push(await echo(server.port, SECONDS));
      greedy.say(`flood ${SECONDS + 3}`);
      await sleep(200);
      runs.beside.push(await echo(server.port, SECONDS));
      rates.push(Number(await greedy.hear()));
    }
    const [alone, beside] = [runs.alone, runs.beside].map(median);
    const told =
      `events of 100 clients were answered within ${beside.toFixed(2)} ms (p99) beside ` +
      `${Math.round(median(rates))} events a second of one, ${alone.toFixed(2)} ms without them`;
    assert.ok(beside <= P99_MAX_MS, told);
    return told;
  },
};

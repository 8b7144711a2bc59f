// Twenty thousand connections a second that say nothing and are reset, beside clients whose events are
// answered. The shard has a core of its own, as in a machine that is not the clients' as well.
import assert from "node:assert/strict";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { echo, lacking, median } from "./support/crowd.js";
import { listenTo } from "./support/network.js";

const PER_SECOND = 20_000;
const SECONDS = 5;
const ROUNDS = 3;
const P99_MAX_MS = 5;
const flood = fileURLToPath(new URL("support/flood.py", import.meta.url));

export default {
  name: "m56 a flood of connections does not keep events of others waiting",
  rows: [56],
  seconds: ROUNDS * 2 * (SECONDS + 10),

  needs() {
    return cpus().length < 2 ? "two cores" : lacking();
  },

  async run(drill) {
    drill.prefix = ["taskset", "--cpu-list", "0"];
    const server = await drill.start("benchmark");
    const runs = { alone: [], beside: [] };
    const rates = [];
    for (let round = 0; round < ROUNDS; round++) {
      runs.alone.push(await echo(server.port, SECONDS));
      // The flood is to take what is left of the other core, not what measures.
      const connections = listenTo(drill, "nice", "-n", 10, "taskset", "--cpu-list", 1, "python3", flood, server.port, PER_SECOND);
      assert.equal(await connections.hear(), "begun");
      runs.beside.push(await echo(server.port, SECONDS));
      connections.say("end");
      const [made, seconds] = (await connections.hear()).split(" ").map(Number);
      rates.push(made / seconds);
    }
    const [alone, beside] = [runs.alone, runs.beside].map(median);
    const told =
      `events of 100 clients were answered within ${beside.toFixed(2)} ms (p99) beside ` +
      `${Math.round(median(rates))} connections a second, ${alone.toFixed(2)} ms without them`;
    assert.ok(beside <= P99_MAX_MS, told);
    return told;
  },
};

// Twenty thousand connections a second that say nothing and are reset, beside clients whose events are
// answered. The shard has a core of its own, as in a machine that is not the clients' as well.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { lacking } from "./support/crowd.js";
import { listenTo } from "./support/network.js";

const PER_SECOND = 20_000;
const SECONDS = 5;
const ROUNDS = 3;
const P99_MAX_MS = 5;
const swarm = fileURLToPath(new URL("../../target/release/swarm", import.meta.url));
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
      runs.alone.push(await echo(server.port));
      // The flood is to take what is left of the other core, not what measures.
      const connections = listenTo(drill, "nice", "-n", 10, "taskset", "--cpu-list", 1, "python3", flood, server.port, PER_SECOND);
      assert.equal(await connections.hear(), "begun");
      runs.beside.push(await echo(server.port));
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

/** The p99 of answers to a thousand events a second. */
async function echo(port) {
  const options = ["--clients", 100, "--rate", 1_000, "--seconds", SECONDS, "--cpu", 1, "--sleep", "--json", "-"];
  const args = ["echo", "--target", `127.0.0.1:${port}`, ...options].map(String);
  const child = spawn(swarm, args, { stdio: ["ignore", "pipe", "ignore"] });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (data) => (said += data));
  const [code] = await once(child, "close");
  assert.equal(code, 0, said);
  return JSON.parse(said.split("\n").find((line) => line.startsWith("{"))).latency_p99_ms;
}

function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

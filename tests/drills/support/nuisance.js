// How long clients wait for their answers beside a nuisance. The shard has a core of its own, as in a
// machine that is not the clients' as well.
import assert from "node:assert/strict";
import { cpus } from "node:os";
import { echo, lacking as lackingSwarm, median } from "./crowd.js";
import { listenTo } from "./network.js";

const SECONDS = 5;
const ROUNDS = 3;
const P99_MAX_MS = 5;

/** How long a nuisance of each round has to last. */
export const NUISANCE_SECONDS = SECONDS + 3;

/** The time that a drill of this kind may take. */
export const DRILL_SECONDS = ROUNDS * 2 * (SECONDS + 10);

/** What this machine lacks, in words; null if nothing. */
export function lacking() {
  return cpus().length < 2 ? "two cores" : lackingSwarm();
}

/**
 * Measures with the nuisance and without it, by turns. `prepare(port, start)` gives its `begin()` and
 * its `end()`, which tells how many `things` a second there were, which must be `least`; `start` starts
 * a program for it.
 */
export async function measureBeside(drill, { things, least }, prepare) {
  drill.prefix = ["taskset", "--cpu-list", "0"];
  const server = await drill.start("benchmark");
  // It is to take what is left of the other core, not what measures.
  const start = (...command) => listenTo(drill, "nice", "-n", 10, "taskset", "--cpu-list", 1, ...command);
  const nuisance = await prepare(server.port, start);
  const runs = { alone: [], beside: [] };
  const rates = [];
  for (let round = 0; round < ROUNDS; round++) {
    runs.alone.push(await echo(server.port, SECONDS));
    await nuisance.begin();
    runs.beside.push(await echo(server.port, SECONDS));
    rates.push(await nuisance.end());
  }
  const [alone, beside] = [runs.alone, runs.beside].map(median);
  const told =
    `events of 100 clients were answered within ${beside.toFixed(2)} ms (p99) beside ` +
    `${Math.round(median(rates))} ${things}, ${alone.toFixed(2)} ms without them`;
  assert.ok(beside <= P99_MAX_MS, told);
  assert.ok(median(rates) >= least, `a nuisance is ${least} ${things}: ${told}`);
  return told;
}

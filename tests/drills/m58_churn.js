// A million clients that connect, enter a room of their own and leave: the memory of the server is
// what it was after the first hundred thousand, and it holds no descriptor more.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { lacking } from "./support/crowd.js";
import { freeAddress, memoryKib, numbers } from "./support/numbers.js";

/** Before that the allocator still gets its first pages of each size, half a megabyte in all. */
const FIRST = 100_000;
const ALL = Number(process.env.DRILL_CYCLES ?? 1_000_000);
const GROWTH_PERCENT_MAX = 5;
const AT_ONCE = 256;
const KEPT = ["clients", "connections", "sockets", "rooms", "tasks", "queued_bytes"].map((name) => `fanfare_${name}`);
/** The allocator gives back what a crowd has left some seconds after it. */
const SETTLE_MS = 5_000;
const swarm = fileURLToPath(new URL("../../target/release/swarm", import.meta.url));

export default {
  name: "m58 a million clients that come and go leave nothing behind",
  rows: [58],
  seconds: 600,
  needs: lacking,

  async run(drill) {
    const metrics = await freeAddress();
    const server = await drill.start("benchmark", "--shards", 2, "--metrics", metrics);
    const descriptors = () => readdirSync(`/proc/${server.pid}/fd`).length;
    const come = (seconds) => {
      const where = ["--target", `127.0.0.1:${server.port}`, "--json", "-", "--sleep"];
      const options = ["churn", ...where, "--clients", AT_ONCE, "--seconds", seconds];
      const said = execFileSync(swarm, options.map(String), { stdio: ["ignore", "pipe", "ignore"] });
      const result = JSON.parse(String(said).split("\n").find((line) => line.startsWith("{")));
      const faults = ["lost", "repeated", "reordered", "damaged", "disconnected"];
      assert.deepEqual(faults.map((fault) => result[fault]), [0, 0, 0, 0, 0]);
      return result.deliveries;
    };
    let cycles = 0;
    while (cycles < FIRST) cycles += come(5);
    await sleep(SETTLE_MS);
    const [first, level, held] = [cycles, memoryKib(server.pid, "VmRSS"), descriptors()];
    while (cycles < ALL) cycles += come(10);
    await sleep(SETTLE_MS);
    const after = memoryKib(server.pid, "VmRSS");
    const percent = (after / level - 1) * 100;
    assert.equal(descriptors(), held, "descriptors");
    const kept = await numbers(metrics);
    const left = KEPT.map((name) => [name, kept[name]]);
    assert.deepEqual(left, KEPT.map((name) => [name, 0]));
    const told =
      `${cycles} clients came and went: resident ${after} KiB, after the first ${first} of them ` +
      `${level} KiB (${percent.toFixed(1)} %); ${held} descriptors then and now`;
    assert.ok(percent <= GROWTH_PERCENT_MAX, told);
    return told;
  },
};

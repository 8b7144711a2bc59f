import assert from "node:assert/strict";
import { test } from "node:test";
import { SOAKS } from "./soak.mjs";

const faultless = { lost: 0, repeated: 0, reordered: 0, damaged: 0, disconnected: 0 };
const ran = (more) => ({
  outcome: "ok",
  reason: null,
  exit: 0,
  commands: ["swarm churn"],
  result: { ...faultless, deliveries: 60_000, clients: 100, rss_kib: 9_000, ...more },
});
// Any living process has memory to look at: this one.
const serving = { pid: process.pid };

test("cycles are made until there are enough, and those to warm up do not count", async () => {
  let loads = 0;
  const found = await SOAKS.churn(serving, async () => ((loads += 1), ran()), 0);
  assert.equal(loads, 1 + 2 + 2);
  assert.equal(found.outcome, "ok");
  assert.equal(found.result.cycles, 120_000);
  assert.equal(found.result.rss_growth_kib, found.result.rss_after_kib - found.result.rss_warm_kib);
  assert.ok(Number.isInteger(found.result.rss_growth_again_kib));
});

test("a fault in one of many runs is a fault of the whole", async () => {
  let loads = 0;
  const found = await SOAKS.churn(serving, async () => {
    loads += 1;
    return loads === 2 ? { ...ran({ lost: 3 }), outcome: "faulty", exit: 1 } : ran();
  }, 0);
  assert.deepEqual([found.outcome, found.exit, found.result.lost], ["faulty", 1, 3]);
});

test("a run that fails ends the soak without a figure", async () => {
  const failed = { ...ran(), outcome: "failed", reason: "exit status 3", exit: 3, result: null };
  const found = await SOAKS.leave(serving, async () => failed);
  assert.deepEqual([found.outcome, found.reason, found.result], ["failed", "exit status 3", null]);
});

test("a server that makes no progress is given up", async () => {
  const found = await SOAKS.churn(serving, async () => ran({ deliveries: 1 }), 0);
  assert.equal(found.outcome, "failed");
  assert.match(found.reason, /fewer than/);
});

test("everybody leaves twice", async () => {
  let loads = 0;
  const found = await SOAKS.leave(serving, async () => ((loads += 1), ran()));
  assert.equal(loads, 2);
  assert.ok(found.result.rss_after_over_before > 0 && found.result.rss_before_kib > 0);
});

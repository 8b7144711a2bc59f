import assert from "node:assert/strict";
import { test } from "node:test";
import { FAULTS, faultsInWords, judge } from "./judgement.mjs";

const sound = {
  mode: "fanout",
  deliveries: 10,
  lost: 0,
  repeated: 0,
  reordered: 0,
  damaged: 0,
  disconnected: 0,
};
const ended = { code: 0, signal: null, timedOut: false, limit_s: 60, result: sound };

test("a run without faults is sound", () => {
  assert.equal(judge(ended).outcome, "ok");
});

test("every kind of fault makes a run faulty, whatever the exit status says", () => {
  for (const fault of FAULTS) {
    for (const code of [0, 1]) {
      const judged = judge({ ...ended, code, result: { ...sound, [fault]: 1 } });
      assert.equal(judged.outcome, "faulty", `${fault} with status ${code}`);
    }
  }
});

test("an exit status of 1 is a fault, even if none is counted", () => {
  const judged = judge({ ...ended, code: 1 });
  assert.equal(judged.outcome, "faulty");
  assert.match(judged.reason, /no fault is counted/);
});

test("a run that could not be made has failed", () => {
  assert.equal(judge({ ...ended, code: 3 }).outcome, "failed");
  assert.equal(judge({ ...ended, code: 2 }).outcome, "failed");
  assert.equal(judge({ ...ended, code: null, signal: "SIGSEGV" }).reason, "ended by SIGSEGV");
  assert.match(judge({ ...ended, timedOut: true }).reason, /within 60 s/);
  assert.equal(judge({ ...ended, result: null }).outcome, "failed");
});

test("a result that does not count a fault proves nothing", () => {
  const judged = judge({ ...ended, result: { ...sound, reordered: undefined } });
  assert.equal(judged.outcome, "failed");
  assert.match(judged.reason, /does not count reordered/);
});

test("a run in which nothing was delivered has failed, unless it only connects", () => {
  assert.equal(judge({ ...ended, result: { ...sound, deliveries: 0 } }).outcome, "failed");
  const idle = { ...sound, mode: "idle", deliveries: null };
  assert.equal(judge({ ...ended, result: idle }).outcome, "ok");
});

test("what went wrong is told with how often, and in how many runs", () => {
  const ok = { outcome: "ok", result: sound };
  const faulty = { outcome: "faulty", reason: null, result: { ...sound, reordered: 138_000 } };
  const failed = { outcome: "failed", reason: "exit status 3", result: null };
  assert.equal(faultsInWords([ok, ok]), "0");
  assert.equal(faultsInWords([ok, faulty]), "reordered 138,000, in 1 of 2 runs");
  assert.equal(faultsInWords([ok, failed]), "1 of 2 runs failed: exit status 3");
});

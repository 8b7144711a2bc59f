import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { Store } from "./store.mjs";

let folder;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), "fanfare-store-"))));
afterEach(() => rmSync(folder, { recursive: true }));

const batch = (round = 1, name = "fanfare") => ({ round, server: { name } });
const run = (name = "echo-100-w1", words = ["echo"]) => ({ scenario: { name }, arguments: words });
const record = (more = {}) => ({
  scenario: "echo-100-w1",
  server: "fanfare",
  round: 1,
  arguments: ["echo"],
  outcome: "ok",
  ...more,
});

test("what was appended is there after an interruption", () => {
  const store = new Store(folder);
  store.saveCampaign({ seed: 7 });
  store.append(record());
  const again = new Store(folder);
  assert.deepEqual(again.campaign, { seed: 7 });
  assert.deepEqual(again.records, [record()]);
  assert.ok(again.has(batch(), run()));
  assert.ok(!again.has(batch(2), run()));
  assert.ok(!again.has(batch(1, "node-ws"), run()));
});

test("a run that failed is a result: it is not repeated until it succeeds", () => {
  const store = new Store(folder);
  store.saveCampaign({});
  store.append(record({ outcome: "failed" }));
  assert.ok(store.has(batch(), run()));
});

test("a line that was cut off is dropped, and the next one begins on its own", () => {
  const store = new Store(folder);
  store.saveCampaign({});
  store.append(record());
  const path = join(folder, "raw/echo-100-w1.jsonl");
  appendFileSync(path, '{"scenario":"echo-1');
  const again = new Store(folder);
  assert.equal(again.records.length, 1);
  again.append(record({ round: 2 }));
  assert.equal(readFileSync(path, "utf8").trim().split("\n").map(JSON.parse).length, 2);
});

test("runs with other arguments are not mixed with those of now", () => {
  const store = new Store(folder);
  store.saveCampaign({});
  store.append(record());
  const other = run("echo-100-w1", ["echo", "--seconds", "9"]);
  assert.throws(() => store.has(batch(), other), /--fresh --scenarios echo-100-w1/);
});

test("forgetting a scenario keeps the others", () => {
  const store = new Store(folder);
  store.saveCampaign({});
  store.append(record());
  store.append(record({ scenario: "churn-50" }));
  assert.ok(!store.holdsOnly([{ name: "echo-100-w1" }]));
  store.forget([{ name: "echo-100-w1" }]);
  assert.ok(store.holdsOnly([{ name: "churn-50" }]));
  assert.deepEqual(
    new Store(folder).records.map(({ scenario }) => scenario),
    ["churn-50"],
  );
});

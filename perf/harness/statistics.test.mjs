import assert from "node:assert/strict";
import { test } from "node:test";
import { figure, median, ratio, spread } from "./statistics.mjs";

const runs = (...values) => values.map((cpu, index) => ({ round: index + 1, result: { cpu } }));

test("the median is the middle one, or the mean of the two in the middle", () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([9, 1, 5, 7]), 6);
  assert.equal(median([]), null);
});

test("a spread counts only what was measured", () => {
  const values = [3, undefined, null, 1, Number.NaN];
  assert.deepEqual(spread(values), { n: 2, median: 2, min: 1, max: 3 });
  assert.equal(spread([null]), null);
});

test("a run that failed has no figure", () => {
  const all = [...runs(4, 6), { round: 3, result: null }];
  assert.deepEqual(figure(all, "cpu"), { n: 2, median: 5, min: 4, max: 6 });
});

test("ratios are taken within each round, and only then their median", () => {
  // The whole second round ran on a machine ten times as slow: no ratio shows it.
  const found = ratio(runs(2, 30, 2.2), runs(1, 10, 1), "cpu");
  assert.deepEqual(found, { n: 3, median: 2.2, min: 2, max: 3 });
});

test("a round that one of the two lacks has no ratio", () => {
  const found = ratio(runs(2, 4), [{ round: 2, result: { cpu: 1 } }], "cpu");
  assert.deepEqual(found, { n: 1, median: 4, min: 4, max: 4 });
  assert.equal(ratio(runs(2), [{ round: 1, result: null }], "cpu"), null);
  assert.equal(ratio(runs(2), [{ round: 1, result: { cpu: null } }], "cpu"), null);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { cell, ofRounds, rate, significant } from "./format.mjs";

test("numbers have three significant digits", () => {
  const words = [0, 0.0004, 0.0041, 0.45, 4.512, 47.36, 331.4, 12_345].map(significant);
  assert.deepEqual(words, ["0", "0", "0.0041", "0.450", "4.51", "47.4", "331", "12,345"]);
});

test("rates are short", () => {
  const words = [657, 7060, 14_300, 141_600, 999_900, 1_347_000].map(rate);
  assert.deepEqual(words, ["657", "7,060", "14.3 k", "142 k", "1.00 M", "1.35 M"]);
});

test("a figure of fewer than five rounds says how many there were", () => {
  const five = { n: 5, median: 2, min: 1, max: 3 };
  assert.equal(cell(five), "2.00 (1.00–3.00)");
  assert.equal(cell({ ...five, n: 4 }), "2.00 (1.00–3.00, n=4)");
  assert.equal(cell({ n: 1, median: 2, min: 2, max: 2 }), "2.00 (n=1)");
  assert.equal(cell(null), "–");
});

test("figures are called medians only as far as they are", () => {
  assert.equal(ofRounds([5, 5]), "medians of 5 interleaved rounds");
  assert.equal(ofRounds([5, 7]), "medians of 5 to 7 interleaved rounds");
  assert.equal(ofRounds([5, 3]), "medians of only 3 to 5 rounds");
  assert.equal(ofRounds([1, 1]), "single runs, no medians");
  assert.equal(ofRounds([]), "nothing measured");
});

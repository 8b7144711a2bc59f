import assert from "node:assert/strict";
import { test } from "node:test";
import { readOptions } from "./options.mjs";

test("without options there are five rounds, continued", () => {
  const options = readOptions([]);
  assert.deepEqual([options.rounds, options.fresh, options.build], [5, false, true]);
  assert.equal(options.output, "perf/report");
});

test("a quick run is short, and never touches the report", () => {
  const options = readOptions(["--quick"]);
  assert.deepEqual([options.rounds, options.fresh], [1, true]);
  assert.ok(options.timing.seconds < 1);
  assert.notEqual(options.output, "perf/report");
  assert.throws(() => readOptions(["--quick", "--output", "perf/report"]), /target\/report only/);
});

test("nonsense is refused", () => {
  for (const args of [["--rounds", "0"], ["--rounds", "x"], ["--seconds", "-1"], ["--what"]]) {
    assert.throws(() => readOptions(args), undefined, args.join(" "));
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { Canvas, dodge, linearScale, logScale, scaleEnd, tickWords } from "./plot.mjs";

test("labels that want the same place get their room, in the same order", () => {
  const places = dodge([50, 51, 50.5, 200], 16, 0, 300);
  assert.deepEqual([places[0], places[2], places[1], places[3]], [50, 66, 82, 200]);
});

test("labels at the lower edge are moved up, not out", () => {
  const places = dodge([298, 299], 16, 0, 300);
  assert.ok(Math.max(...places) <= 300 && Math.abs(places[0] - places[1]) >= 16);
});

test("a bar is cut only where it would squeeze all others", () => {
  assert.equal(scaleEnd([70, 10, 9, 8]), 10);
  assert.equal(scaleEnd([900, 70, 10, 9]), 10);
  assert.equal(scaleEnd([15, 10, 9, 8]), 15);
  assert.equal(scaleEnd([70, 10]), 70);
});

test("ticks are round numbers within the scale", () => {
  assert.deepEqual(linearScale(10.6, 0, 100).ticks, [0, 5, 10]);
  assert.deepEqual(
    logScale([0.4, 60], 0, 100).ticks.map(tickWords),
    "0.5 1 2 5 10 20 50".split(" "),
  );
  assert.deepEqual(
    [0, 0.5, 20_000, 500_000, 1.5e6].map(tickWords),
    "0 0.5 20,000".split(" ").concat("500 k", "1.5 M"),
  );
});

test("names cannot break the picture", () => {
  const canvas = new Canvas(100);
  canvas.text(0, 0, "<a> & b");
  assert.match(canvas.toString(10, "<t>", "&"), /&lt;a&gt; &amp; b/);
});

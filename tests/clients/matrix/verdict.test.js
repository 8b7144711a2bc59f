// The matrix is worth something only if nothing can be missing from it without being noticed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { reported, runsOf, verdict } from "./verdict.js";

const able = { name: "able" };
const unable = { name: "unable", cannot: { nested: "it has one binary value or none" } };

/** What a program says that does all it is asked to, with these lines in place of others. */
function said(client, change = (line) => [line]) {
  const lines = [{ version: "1.2.3" }];
  for (const { transport, scenarios } of runsOf(client)) {
    for (const scenario of scenarios) lines.push({ transport, scenario, error: null });
  }
  return lines.flatMap(change).map((line) => JSON.stringify(line)).join("\n");
}

function judge(client, output, fault) {
  const once = (shards) => ({ shards, report: reported(client, output), fault });
  return verdict([client], [1, 2], () => [once(1), once(2)]);
}

const is = (line, cell) => `${line.transport} ${line.scenario}` === cell;

test("a client that passes everything gives no problem", () => {
  const { table, notes, problems } = judge(able, said(able));
  assert.deepEqual(problems, []);
  assert.equal(notes, "");
  assert.match(table, /^connect +✓✓✓$/m);
  assert.match(table, /^upgrade +··✓$/m);
});

test("what a client cannot do is not asked of it and stands in the table with its reason", () => {
  const { table, notes, problems } = judge(unable, said(unable));
  assert.deepEqual(problems, []);
  assert.match(table, /^nested +aaa$/m);
  assert.equal(notes, "a  not supported: it has one binary value or none");
  assert.ok(runsOf(unable).every(({ scenarios }) => !scenarios.includes("nested")));
});

test("what a client cannot do on one transport is asked of it on the others", () => {
  const half = { name: "half", cannot: { large: { polling: "it is small there" } } };
  const { table, notes, problems } = judge(half, said(half));
  assert.deepEqual(problems, []);
  assert.match(table, /^large +a✓✓$/m);
  assert.equal(notes, "a  not supported: it is small there");
});

test("a scenario that fails is a problem", () => {
  const output = said(able, (line) => [
    is(line, "polling acks") ? { ...line, error: "no ack" } : line,
  ]);
  const { table, problems } = judge(able, output);
  assert.deepEqual(problems, [
    "able, shards 1: polling, acks: no ack",
    "able, shards 2: polling, acks: no ack",
  ]);
  assert.match(table, /^acks +✗✓✓$/m);
});

test("a scenario that silently did not run is a problem", () => {
  const output = said(able, (line) => (is(line, "upgrade rooms") ? [] : [line]));
  const { table, problems } = judge(able, output);
  assert.equal(problems[0], "able, shards 1: upgrade: did not run: rooms");
  assert.match(table, /^rooms +✓✓\?$/m);
});

test("a scenario reported twice, or not asked for, is a problem", () => {
  const twice = said(able, (line) => (is(line, "polling acks") ? [line, line] : [line]));
  assert.equal(judge(able, twice).problems[0], "able, shards 1: reported polling acks twice");
  const odd = said(able, (line) => {
    return is(line, "polling acks") ? [line, { ...line, scenario: "dance" }] : [line];
  });
  const what = "reported polling dance, which was not asked for";
  assert.equal(judge(able, odd).problems[0], `able, shards 1: ${what}`);
});

test("a program that says nothing, crashes or was never run is a problem", () => {
  assert.ok(judge(able, "").problems.includes("able, shards 1: did not say its version"));
  const crashed = judge(able, said(able), "ended with status 1");
  assert.equal(crashed.problems[0], "able, shards 1: ended with status 1");
  const once = { shards: 1, report: reported(able, said(able)) };
  const half = verdict([able], [1, 2], () => [once]);
  assert.deepEqual(half.problems, ["able, shards 2: was not run"]);
  assert.match(half.table, /^connect +\?\?\?$/m);
});

test("a broken line is a problem, a line that is no report is not", () => {
  assert.deepEqual(judge(able, `${said(able)}\nDevTools listening\n`).problems, []);
  const broken = judge(able, `${said(able)}\n{"transport":`);
  assert.equal(broken.problems[0], 'able, shards 1: said {"transport":');
});

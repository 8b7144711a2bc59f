import assert from "node:assert/strict";
import { test } from "node:test";
import { inOrder, remaining, roundOf } from "./plan.mjs";
import { GROUPS, selectGroups } from "./scenarios.mjs";
import { shardCounts, takesPart, whySkipped } from "./servers.mjs";

const server = (name, more = {}) => ({ name, kind: "socketio", protocol: "socketio", ...more });
const three = ["first", "second", "third"].map((name) => server(name));
const plan = { groups: GROUPS, servers: three, seed: 1, timing: { seconds: 3, warmup: 0.5 } };
const names = (servers) => servers.map(({ name }) => name).join(" ");

test("the order of a round comes from seed and round alone", () => {
  assert.equal(names(inOrder(three, 1, 2)), names(inOrder(three.toReversed(), 1, 2)));
  const orders = new Set([1, 2, 3, 4, 5, 6].map((round) => names(inOrder(three, 1, round))));
  assert.ok(orders.size > 1, "rounds differ");
  const others = new Set([1, 2, 3, 4, 5, 6].map((seed) => names(inOrder(three, seed, 1))));
  assert.ok(others.size > 1, "seeds differ");
});

test("leaving a server out does not change how the others stand", () => {
  for (let round = 1; round <= 8; round += 1) {
    const without = inOrder(three, 1, round).filter(({ name }) => name !== "second");
    assert.equal(names(inOrder([three[0], three[2]], 1, round)), names(without));
  }
});

test("every server of a group is measured before the next group begins", () => {
  const batches = roundOf(1, plan);
  const thousand = batches.slice(0, 3);
  assert.deepEqual(
    thousand.map((batch) => batch.group.name),
    Array(3).fill("thousand"),
  );
  assert.equal(new Set(thousand.map((batch) => batch.server.name)).size, 3);
});

test("a fresh group starts a server for each scenario", () => {
  const memory = roundOf(1, plan).filter((batch) => batch.group.name === "memory");
  assert.equal(memory.length, 4 * 3);
  assert.ok(memory.every((batch) => batch.runs.length === 1));
});

test("what a server is spared is not run, and has a reason", () => {
  const spared = server("slow", { spared: { "ten-thousand": "too slow", "idle-18000": "slower" } });
  const batches = roundOf(1, { ...plan, servers: [spared] });
  const ran = batches.flatMap((batch) => batch.runs.map((run) => run.scenario.name));
  assert.ok(!ran.includes("rooms-10000-w16") && !ran.includes("idle-18000"));
  assert.ok(ran.includes("idle-10000"));
  const rooms = { name: "rooms-10000-w16", group: "ten-thousand" };
  assert.equal(whySkipped(spared, rooms), "too slow");
});

test("a peer that cannot be had is skipped everywhere, with the reason", () => {
  const absent = server("absent", { unavailable: "does not build" });
  assert.equal(whySkipped(absent, GROUPS[0].scenarios[0]), "does not build");
});

test("long-polling is asked of Socket.IO servers only", () => {
  const polling = GROUPS[0].scenarios.find(({ mode }) => mode === "polling");
  assert.match(whySkipped(server("plain", { protocol: "websocket" }), polling), /no long-polling/);
  assert.equal(whySkipped(server("other"), polling), null);
});

test("variants are measured only where they say something", () => {
  const variant = server("fanfare-no-handshake", { kind: "fanfare", only: ["memory"] });
  const groups = GROUPS.filter((group) => takesPart(variant, group));
  assert.deepEqual(
    groups.map(({ name }) => name),
    ["memory"],
  );
  const peers = GROUPS.filter((group) => takesPart(server("peer"), group));
  assert.deepEqual(
    peers.map(({ name }) => name),
    ["thousand", "memory", "ten-thousand"],
  );
});

test("slow peers connect slowly, and have the time for it", () => {
  const slow = server("slow", { connectRate: 500 });
  const [batch] = roundOf(1, { ...plan, servers: [slow], groups: selectGroups(["idle-10000"]) });
  const [run] = batch.runs;
  assert.ok(run.arguments.join(" ").includes("--connect-rate 500"));
  assert.ok(run.limit_s > 10_000 / 500);
});

test("what is recorded already is not run again", () => {
  const batches = roundOf(1, { ...plan, groups: selectGroups(["idle-1000", "echo-100-w1"]) });
  const store = { has: (batch) => batch.server.name !== "second" };
  const left = remaining(batches, store);
  assert.deepEqual([...new Set(left.map((batch) => batch.server.name))], ["second"]);
});

test("an unknown scenario is an error, not an empty selection", () => {
  assert.throws(() => selectGroups(["fanout-7"]), /no scenario fanout-7/);
});

test("shards are doubled up to half of the cores", () => {
  assert.deepEqual(shardCounts(2), [1, 2]);
  assert.deepEqual(shardCounts(16), [1, 2, 4, 8]);
});

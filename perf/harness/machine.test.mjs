import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseCores, describeMachine, parseCores, residentKib } from "./machine.mjs";
import { placementOn } from "./placement.mjs";

test("lists of cores are read as the kernel writes them", () => {
  assert.deepEqual(parseCores("0-2,5"), [0, 1, 2, 5]);
  assert.deepEqual(parseCores("7"), [7]);
});

test("server and load generator do not share a physical core if they need not", () => {
  const pairs = (core) => [core & ~1, core | 1];
  assert.deepEqual(chooseCores([0, 1, 2, 3], pairs), { server: 0, swarm: 2, shared: false });
  assert.deepEqual(chooseCores([0, 1], pairs), { server: 0, swarm: 1, shared: true });
  assert.throws(() => chooseCores([0], pairs), /two cores/);
});

test("this machine can be described, and this process has memory", () => {
  const found = describeMachine();
  assert.ok(found.cores >= 1 && found.descriptors > 0 && found.kernel);
  assert.ok(residentKib(process.pid) > 1000);
  assert.equal(residentKib(2 ** 30), null);
});

test("only scaling takes more cores than one for each side", () => {
  const on = (cores) => {
    const chosen = { server: 0, swarm: 1 };
    return placementOn({ cores: parseCores(cores), chosen, descriptors: 1000 });
  };
  const pinned = on("0-15")({ group: {}, server: {} });
  assert.deepEqual(pinned.server.slice(2), ["taskset", "-c", "0"]);
  assert.deepEqual(pinned.options, ["--cpu", "1"]);
  const shared = on("0-1")({ group: { scaling: true }, server: { shards: 2 } });
  assert.deepEqual([shared.server.length, shared.options], [2, []]);
  const apart = on("0-15")({ group: { scaling: true }, server: { shards: 2 } });
  assert.deepEqual(apart.server.slice(2), ["taskset", "-c", "0,1"]);
  assert.deepEqual(apart.swarm.slice(2), ["taskset", "-c", "8,9,10,11,12,13,14,15"]);
  assert.deepEqual(apart.options, ["--processes", "8"]);
});

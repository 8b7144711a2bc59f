// Measuring with stand-ins for server and load generator: what is recorded, whatever happens.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Measurement } from "./measure.mjs";
import { remaining } from "./plan.mjs";
import { freePort, serve } from "./serving.mjs";
import { Store } from "./store.mjs";

const standIn = (name) => fileURLToPath(new URL(`testing/${name}.mjs`, import.meta.url));
const placement = () => ({ server: [], swarm: [], options: [] });

let root;
let store;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "fanfare-measure-"));
  store = new Store(root);
  store.saveCampaign({});
});
afterEach(() => rmSync(root, { recursive: true }));

function server(behaviour = "sound", name = "peer") {
  const command = (address) => [
    process.execPath,
    standIn("server"),
    behaviour,
    "--listen",
    address,
  ];
  return { name, command };
}

function measurement(behaviour, more = {}) {
  const swarm = [process.execPath, standIn("swarm"), behaviour];
  return new Measurement({ root, store, placement, swarm, say: () => {}, ...more });
}

function batch(scenarios = ["echo-100-w1"], peer = server(), limit_s = 60) {
  const runs = scenarios.map((name) => {
    return { scenario: { name, mode: "echo" }, arguments: ["echo", "--clients", "1"], limit_s };
  });
  return { round: 1, group: { name: "thousand" }, server: peer, runs };
}

test("a run is recorded with its result, its commands and the state of the machine", async () => {
  await measurement("sound").batch(batch());
  const [record] = new Store(root).records;
  assert.equal(record.outcome, "ok");
  assert.equal(record.exit, 0);
  assert.equal(record.result.deliveries, 1000);
  assert.match(record.server_command, /server\.mjs sound --listen 127\.0\.0\.1:53\d\d$/);
  assert.match(
    record.swarm_commands[0],
    /echo --clients 1 --target 127\.0\.0\.1:53\d\d --server-pid/,
  );
  assert.ok(record.load_average >= 0 && record.busy_elsewhere >= 0 && record.started);
});

test("scenarios of a batch share one server", async () => {
  await measurement("sound").batch(batch(["echo-100-w1", "echo-100-w16"]));
  const commands = store.records.map((record) => record.server_command);
  assert.equal(commands.length, 2);
  assert.equal(commands[0], commands[1]);
});

test("faults are recorded as such, also when the exit status hides them", async () => {
  await measurement("reorders").batch(batch());
  await measurement("hides").batch(batch(["echo-100-w16"]));
  const outcomes = store.records.map(({ outcome, exit, result }) => [outcome, exit, result.lost]);
  assert.deepEqual(outcomes, [
    ["faulty", 1, 0],
    ["faulty", 0, 7],
  ]);
});

test("a load generator that cannot measure leaves the reason it gave", async () => {
  await measurement("refused").batch(batch());
  const [record] = store.records;
  assert.deepEqual([record.outcome, record.exit, record.result], ["failed", 3, null]);
  assert.equal(record.reason, "exit status 3: the target refused the connection");
});

test("a run that does not end is ended, and recorded as failed", async () => {
  process.once("SIGUSR2", () => {});
  await measurement("hangs").batch(batch(["echo-100-w1"], server(), 0.3));
  assert.equal(store.records[0].outcome, "failed");
  assert.match(store.records[0].reason, /did not end within/);
});

test("a server that dies fails that run, and the next one has a new server", async () => {
  await measurement("kills").batch(batch(["echo-100-w1", "echo-100-w16"]));
  const [first, second] = store.records;
  assert.deepEqual([first.outcome, second.outcome], ["failed", "failed"]);
  assert.match(first.reason, /the server ended/);
  assert.notEqual(first.server_command, second.server_command);
});

test("a server that does not start fails all its runs, saying why", async () => {
  await measurement("sound").batch(batch(["echo-100-w1", "echo-100-w16"], server("broken")));
  assert.equal(store.records.length, 2);
  for (const { outcome, reason } of store.records) {
    assert.equal(outcome, "failed");
    assert.equal(reason, "the server ended with status 1: a configuration that nobody can read");
  }
});

test("an interrupted run leaves no record, and measuring continues with it", async () => {
  const planned = [batch(["echo-100-w1"]), batch(["echo-100-w16"])];
  await measurement("sound").batch(planned[0]);
  const interrupted = measurement("hangs");
  const running = once(process, "SIGUSR2");
  const measuring = interrupted.batch(planned[1]);
  await running;
  await interrupted.stop();
  await measuring;
  const again = new Store(root);
  assert.equal(again.records.length, 1);
  const left = remaining(planned, again);
  assert.deepEqual(
    left.flatMap(({ runs }) => runs.map((run) => run.scenario.name)),
    ["echo-100-w16"],
  );
});

test("a port on which an old server still listens is not used", async () => {
  const port = await freePort();
  const next = port === 5399 ? 5300 : port + 1;
  const old = createServer();
  await new Promise((resolve) => old.listen(next, "0.0.0.0", resolve));
  assert.notEqual(await freePort(), next);
  await new Promise((resolve) => old.close(resolve));
});

test("a server is reached under the pid that was started, and ends when asked", async () => {
  const serving = await serve(server(), [], root);
  assert.ok(serving.isAlive);
  process.kill(serving.pid, 0);
  assert.equal(await serving.stop(), null);
  assert.throws(() => process.kill(serving.pid, 0), { code: "ESRCH" });
});

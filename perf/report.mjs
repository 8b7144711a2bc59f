// `make report`: builds, measures in rounds, and writes what came of it.
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { resolve } from "node:path";
import { difference, sourceIdentity } from "./harness/identity.mjs";
import { allowedCores, busyElsewhere, chooseCores } from "./harness/machine.mjs";
import { LOAD_LIMIT, describeMachine, loadAverage } from "./harness/machine.mjs";
import { Measurement } from "./harness/measure.mjs";
import { USAGE, readOptions } from "./harness/options.mjs";
import { placementOn } from "./harness/placement.mjs";
import { inOrder, remaining, roundOf } from "./harness/plan.mjs";
import { build, install, toolVersion, versionsOf } from "./harness/prepare.mjs";
import { render } from "./harness/render.mjs";
import { GROUPS, selectGroups } from "./harness/scenarios.mjs";
import { allServers, selectServers, whySkipped } from "./harness/servers.mjs";
import { Store } from "./harness/store.mjs";

const ROOT = resolve(fileURLToPath(new URL("..", import.meta.url)));
const SWARM = ["target/release/swarm"];
/** Sockets and files that server and load generator have open besides one for each client. */
const DESCRIPTORS_SPARED = 200;
const CROWD = 20_000;
/** One name for the whole machine: two reports at a time would measure each other. */
const LOCK = "\0fanfare-report";

const say = (text) => process.stderr.write(`${text}\n`);

async function main() {
  const options = readOptions(process.argv.slice(2));
  if (options.help) return console.log(USAGE);
  const everybody = allServers(ROOT, allowedCores().length);
  if (options.list) return list(everybody);
  const output = resolve(ROOT, options.output);
  if (!options.render) await measure(options, everybody, output);
  say(`written: ${render(new Store(output), output).join(", ")} in ${options.output}`);
}

function list(servers) {
  for (const { name, family } of servers) console.log(`${family.padEnd(8)} ${name}`);
  for (const group of GROUPS) {
    console.log(`\n${group.name}`);
    for (const { name, title } of group.scenarios) console.log(`  ${name.padEnd(28)} ${title}`);
  }
}

async function measure(options, everybody, output) {
  await lock();
  const groups = selectGroups(options.scenarios);
  const chosen = selectServers(everybody, options.servers);
  if (options.build) build(ROOT);
  const servers = options.build ? install(ROOT, chosen, say) : chosen;
  const store = new Store(output);
  const campaign = await begin(store, options, groups, servers);
  const { seed, timing } = campaign;
  const measurement = new Measurement({
    root: ROOT,
    store,
    placement: placementOn(campaign.cores),
    swarm: SWARM,
    say,
  });
  endOnSignal(measurement);
  for (let round = 1; round <= options.rounds && !measurement.isStopped; round += 1) {
    const names = inOrder(servers, seed, round).map((server) => server.name);
    say(`round ${round} of ${options.rounds}, seed ${seed}: ${names.join(" ")}`);
    const batches = remaining(roundOf(round, { groups, servers, seed, timing }), store);
    for (const batch of batches) await measurement.batch(batch);
  }
}

/** The campaign that this session belongs to: a new one, or the one that it continues. */
async function begin(store, options, groups, servers) {
  const now = describe(options, servers);
  if (options.fresh && options.scenarios === null) store.clear();
  const before = store.campaign;
  const changed = before && difference(before.identity, now.identity);
  if (changed) throw new Error(`${changed}. --fresh measures everything again`);
  if (options.fresh) store.forget(groups.flatMap((group) => group.scenarios));
  const campaign = before ?? now;
  const names = now.servers.map((server) => server.name);
  store.saveCampaign({
    ...campaign,
    identity: {
      ...now.identity,
      versions: { ...campaign.identity.versions, ...now.identity.versions },
    },
    servers: [...campaign.servers.filter(({ name }) => !names.includes(name)), ...now.servers],
    sessions: [...campaign.sessions, await session()],
  });
  return store.campaign;
}

/** What figures taken now would be figures of. */
function describe(options, servers) {
  const machine = describeMachine();
  const cores = allowedCores();
  const crowd = Math.min(CROWD, machine.descriptors - DESCRIPTORS_SPARED);
  const timing = { ...options.timing, clients_most: crowd };
  const identity = {
    source: sourceIdentity(ROOT),
    cpu: machine.cpu,
    kernel: machine.kernel,
    rust: toolVersion(ROOT, "rustc"),
    node: process.version,
    timing,
    versions: versionsOf(ROOT, servers),
  };
  return {
    identity,
    machine,
    cores: { cores, chosen: chooseCores(cores), descriptors: machine.descriptors },
    timing,
    seed: options.seed,
    quick: options.quick,
    servers: servers.map(forReaders),
    sessions: [],
  };
}

/** A server as the raw data keeps it: with what it was spared, and why. */
function forReaders(server) {
  const scenarios = GROUPS.flatMap((group) => group.scenarios);
  const reasons = scenarios.map((scenario) => [scenario.name, whySkipped(server, scenario)]);
  const skipped = Object.fromEntries(reasons.filter(([, reason]) => reason !== null));
  const command = server.command("127.0.0.1:PORT").join(" ");
  const { name, label, description, kind, family, protocol, only, unavailable = null } = server;
  return { name, label, description, kind, family, protocol, only, unavailable, command, skipped };
}

/** The state of the machine now; says so when it is too busy to measure anything. */
async function session() {
  const load_average = loadAverage();
  const quiet = await busyElsewhere(1_000);
  if (load_average > LOAD_LIMIT) {
    say(`WARNING: the load average is ${load_average.toFixed(2)}: figures would be worthless`);
  }
  return { started: new Date().toISOString(), load_average, busy_elsewhere: quiet.busy };
}

function endOnSignal(measurement) {
  for (const [signal, status] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ]) {
    process.once(signal, async () => {
      say("ending what runs; what was measured is kept");
      await measurement.stop();
      process.exit(status);
    });
  }
}

function lock() {
  return new Promise((resolve, reject) => {
    const server = createServer().unref();
    server.once("error", () => reject(new Error("another report is being measured")));
    server.listen(LOCK, resolve);
  });
}

try {
  await main();
} catch (error) {
  say(`report: ${error.message}`);
  process.exitCode = 1;
}

// `make report`: builds, measures in rounds, and writes what came of it.
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { resolve } from "node:path";
import { measureInside } from "./harness/inside.mjs";
import { difference, sourceIdentity } from "./harness/identity.mjs";
import { allowedCores, busyElsewhere, chooseCores } from "./harness/machine.mjs";
import { LOAD_LIMIT, describeMachine, loadAverage } from "./harness/machine.mjs";
import { Measurement } from "./harness/measure.mjs";
import { USAGE, readOptions } from "./harness/options.mjs";
import { placementOn } from "./harness/placement.mjs";
import { inOrder, remaining, roundOf } from "./harness/plan.mjs";
import { build, preparePeers, toolVersion } from "./harness/prepare.mjs";
import { render } from "./harness/render.mjs";
import { GROUPS, selectGroups } from "./harness/scenarios.mjs";
import { allServers, selectServers, takesPart, whySkipped } from "./harness/servers.mjs";
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
  const { servers, versions } = preparePeers(ROOT, chosen, { installing: options.build, say });
  const store = new Store(output);
  const now = describe(options, servers, versions);
  const { seed, timing, cores } = begin(store, options, groups, now);
  const measurement = new Measurement({
    root: ROOT,
    store,
    placement: placementOn(cores),
    swarm: SWARM,
    say,
  });
  endOnSignal(measurement);
  const compared = servers.filter((server) => groups.some((group) => takesPart(server, group)));
  let sessionIsNoted = false;
  for (let round = 1; round <= options.rounds; round += 1) {
    const batches = remaining(roundOf(round, { groups, servers: compared, seed, timing }), store);
    const names = inOrder(compared, seed, round).map((server) => server.name);
    const left = `${batches.length} starts of servers to go`;
    say(`round ${round} of ${options.rounds}, seed ${seed}, ${left}: ${names.join(" ")}`);
    for (const batch of batches) {
      if (!sessionIsNoted) await noteSession(store);
      sessionIsNoted = true;
      await measurement.batch(batch);
      if (measurement.isStopped) return;
    }
  }
  if (!options.quick && !store.campaign.inside) {
    say("idle clients without sockets, and the wake-up of a shard");
    store.saveCampaign({ ...store.campaign, inside: measureInside(ROOT) });
  }
}

/** The campaign that is measured: a new one, or the one that this continues. */
function begin(store, options, groups, now) {
  const again = groups.flatMap((group) => group.scenarios);
  if (options.quick || (options.fresh && store.holdsOnly(again))) store.clear();
  const before = store.campaign;
  const changed = before && difference(before.identity, now.identity);
  if (changed) throw new Error(`${changed}. --fresh, for all scenarios, measures everything again`);
  if (options.fresh) store.forget(again);
  const campaign = before ?? now;
  const names = now.servers.map((server) => server.name);
  store.saveCampaign({
    ...campaign,
    identity: {
      ...now.identity,
      versions: { ...campaign.identity.versions, ...now.identity.versions },
    },
    servers: [...campaign.servers.filter(({ name }) => !names.includes(name)), ...now.servers],
  });
  return store.campaign;
}

/** What figures taken now would be figures of. */
function describe(options, servers, versions) {
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
    versions,
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

/** Keeps the state of the machine; says so when it is too busy to measure anything. */
async function noteSession(store) {
  const load_average = loadAverage();
  const quiet = await busyElsewhere(1_000);
  if (load_average > LOAD_LIMIT) {
    say(`WARNING: the load average is ${load_average.toFixed(2)}: figures would be worthless`);
  }
  const session = { started: new Date().toISOString(), load_average, busy_elsewhere: quiet.busy };
  const { campaign } = store;
  store.saveCampaign({ ...campaign, sessions: [...campaign.sessions, session] });
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

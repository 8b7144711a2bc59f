// Runs the matrix of clients and prints what ran: `node run.js [client...]`, as README.md says.
import { spawn } from "node:child_process";
import { once, setMaxListeners } from "node:events";
import { availableParallelism } from "node:os";
import { startServerOr } from "../server.js";
import { CLIENTS } from "./catalogue.js";
import { Relay } from "./relay.js";
import { SCENARIOS } from "./scenarios.js";
import { reported, runsOf, verdict } from "./verdict.js";

const PING_INTERVAL_MS = 300;
// What a busy machine may keep a client from running, and what `heartbeat` takes at least.
const PING_TIMEOUT_MS = 10_000;
// By then a server that hears nothing has given a client up.
const SILENCE_MS = PING_INTERVAL_MS + PING_TIMEOUT_MS + 300;
const PROGRAM_DEADLINE_MS = 240_000;
const KILL_DELAY_MS = 3_000;
// The programs wait more than they work.
const AT_ONCE = availableParallelism() + 2;

// A server pings all the time, except one for clients that must not be pinged while they speak.
const PINGING = [
  ...["--ping-interval-ms", `${PING_INTERVAL_MS}`],
  ...["--ping-timeout-ms", `${PING_TIMEOUT_MS}`],
];

const named = process.argv.slice(2);
const unknown = named.filter((name) => !CLIENTS.some((client) => client.name === name));
if (unknown.length > 0) {
  console.error(`no such client: ${unknown}; there are ${CLIENTS.map(({ name }) => name)}`);
  process.exit(2);
}
const clients = CLIENTS.filter(({ name }) => named.length === 0 || named.includes(name));
// The reference has no shards, so a second round would only repeat the first.
const rounds = process.env.FANFARE_SERVER === "reference" ? ["1"] : ["1", "2"];

// Two servers and a program for each.
setMaxListeners(3 * AT_ONCE, process);
// What this process has started is ended by its `exit` event, which a signal alone does not cause.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

const begun = performance.now();
const reports = new Map(clients.map((client) => [client, []]));
const waiting = rounds.flatMap((shards) => clients.map((client) => ({ client, shards })));
await Promise.all(Array.from({ length: AT_ONCE }, async () => {
  for (let job = waiting.shift(); job; job = waiting.shift()) {
    reports.get(job.client).push(await tried(job.client, job.shards));
  }
}));
conclude();

/** The report of one client against servers of its own, and a relay to break. */
async function tried(client, shards) {
  const pinging = await started(client, shards, ...PINGING);
  const server = client.overlaps ? await started(client, shards) : pinging;
  const relay = await Relay.to(server.port);
  const plan = {
    url: server.url,
    heartbeatUrl: pinging.url,
    ...relay.urls,
    silenceMs: SILENCE_MS,
    parser: client.parser,
    runs: runsOf(client),
  };
  const { output, ...ended } = await ran([...client.command, JSON.stringify(plan)]);
  relay.close();
  const faults = [ended.fault];
  for (const each of new Set([server, pinging])) {
    await each.stop().catch((error) => faults.push(error.message));
  }
  return { shards, report: reported(client, output), fault: faults.find(Boolean) };
}

/** A server for this client. */
async function started(client, shards, ...flags) {
  const reference = new URL("../reference.js", import.meta.url);
  const parser = client.parser ? ["--parser", client.parser] : [];
  const own = client.server ?? [];
  return startServerOr(reference, "--shards", shards, ...parser, ...own, ...flags);
}

/** What a program wrote, and what was wrong with its end. */
async function ran([program, ...args]) {
  // A group of its own: a program may have processes of its own, which end with it.
  const options = { stdio: ["ignore", "pipe", "pipe"], detached: true };
  const child = spawn(program, args, options);
  const end = (signal) => killGroup(child.pid, signal);
  const killNow = () => end("SIGKILL");
  process.once("exit", killNow);
  let [output, errors] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (chunk) => (output += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk) => (errors += chunk));
  let isLate = false;
  const late = setTimeout(() => {
    isLate = true;
    // Politely first: a browser that was started must be ended, too.
    end("SIGTERM");
    setTimeout(killNow, KILL_DELAY_MS).unref();
  }, PROGRAM_DEADLINE_MS);
  let fault;
  try {
    const [status, signal] = await once(child, "close");
    if (status !== 0) fault = `ended with ${signal ?? `status ${status}`}\n${errors.slice(-4_000)}`;
    if (isLate) fault = `was not done after ${PROGRAM_DEADLINE_MS} ms, and ${fault}`;
  } catch (error) {
    fault = `could not be started: ${error.message}`;
  }
  clearTimeout(late);
  process.off("exit", killNow);
  return { output, fault };
}

function killGroup(leader, signal) {
  try {
    process.kill(-leader, signal);
  } catch {
    // It has ended, or it never began.
  }
}

function conclude() {
  const { table, notes, problems } = verdict(clients, rounds, (client) => {
    return reports.get(client);
  });
  const seconds = ((performance.now() - begun) / 1_000).toFixed(0);
  console.log(`${table}\n`);
  console.log("Each mark: polling, WebSocket, upgrade. ✓ passed with each number of shards, ✗ failed,");
  console.log("? did not run, · does not apply to that transport.");
  if (notes) console.log(notes);
  for (const client of clients) {
    const [first] = reports.get(client);
    console.log(`${client.name}: ${client.what} ${first?.report.version ?? ""}`);
  }
  for (const [name, what] of Object.entries(SCENARIOS)) console.log(`${name}: ${what}`);
  console.log(`\n--shards ${rounds.join(" and ")}, ${seconds} s`);
  for (const problem of problems) console.error(`FAILED ${problem}`);
  process.exitCode = problems.length > 0 ? 1 : 0;
}

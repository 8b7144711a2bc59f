// The figures that the project set out to reach, each against what was measured.
import { rate, significant, whole } from "./format.mjs";
import { faultCounts } from "./judgement.mjs";
import { scenarioNamed } from "./scenarios.mjs";
import { figure } from "./statistics.mjs";
import { CHURN_CYCLES, LEAVE_FACTOR, LEAVE_LIMIT_S } from "./soak.mjs";

/**
 * What the bare send loop took for a delivery to 1,000 clients on the machine where the figures in
 * microseconds were set. How much more or less it takes here is how much slower or faster this
 * machine is, at what nearly all of the time goes into.
 */
const SET_AT = { scenario: "fanout-1000-64-w1", server: "limit-send", us: 4.59 };

/** Less than a byte for each cycle: more would be a leak, less is the grain of pages. */
const CHURN_GROWTH_KIB = CHURN_CYCLES / 1024;

const figures = [
  atMost(0.7, "KiB", "idle-18000", "rss_per_client_kib", {
    what: "resident memory per idle WebSocket client, 18,000 clients, handshake kept",
  }),
  atMost(0.45, "KiB", "idle-18000", "rss_per_client_kib", {
    what: "the same, handshake dropped",
    server: "fanfare-no-handshake",
  }),
  atMost(1.0, "KiB", "fanout-10000-1024-w1", "rss_per_client_kib", {
    what: "resident memory per client after a fan-out of 1 KiB to 10,000",
  }),
  atMost(4.0, "KiB", "idle-18000", "kernel_per_socket_kib", {
    what: "kernel memory per server-side socket, 18,000 clients",
  }),
  ...["fanout-1000-64-w1", "fanout-10000-64-w1"].flatMap((scenario) => [
    atMost(1.08, "× bare send loop", scenario, "server_cpu_us", {
      what: `CPU per delivery, ${clientsOf(scenario)} clients, 64 B, 1 under way`,
      ratio: true,
    }),
    atMost(0.25, "µs", scenario, "server_user_us", {
      what: `CPU in user space per delivery, ${clientsOf(scenario)} clients, 64 B, 1 under way`,
    }),
  ]),
  ...["fanout-1000-64-w1", "fanout-1000-64-w16", "fanout-10000-64-w1"].map((scenario) =>
    atMost(1.25, "× io_uring", scenario, "server_cpu_us", {
      what: `CPU per delivery on epoll, ${clientsOf(scenario)} clients, 64 B, ${underWay(scenario)}`,
      server: "fanfare-epoll",
      ratioTo: "fanfare",
    }),
  ),
  ...["fanout-1000-64-w1", "fanout-1000-64-w16", "fanout-10000-64-w1"].map((scenario) =>
    atMost(1.03, "× without", scenario, "server_cpu_us", {
      what:
        "CPU per delivery with all limits and metrics, " +
        `${clientsOf(scenario)} clients, 64 B, ${underWay(scenario)}`,
      server: "fanfare-guarded",
      ratioTo: "fanfare",
    }),
  ),
  atMost(0.7, "KiB", "idle-18000", "rss_per_client_kib", {
    what: "resident memory per idle WebSocket client with all limits and metrics",
    server: "fanfare-guarded",
  }),
  bestPlainPeer("fanout-1000-64-w16", "deliveries_per_s"),
  atMost(0.58, "µs", "fanout-1000-64-w16", "server_cpu_us", {
    what: "CPU per delivery, 1,000 clients, 64 B, 16 under way",
  }),
  atMost(6.7, "µs", "rooms-10000-w16", "server_cpu_us", {
    what: "CPU per delivery, rooms of 10 among 10,000 clients, 16 under way",
  }),
  atMost(5.6, "µs", "echo-100-w1", "server_cpu_us", {
    what: "CPU per echo, 100 clients, 1 under way",
  }),
  atMost(0.55, "µs", "echo-100-w16", "server_cpu_us", {
    what: "CPU per echo, 100 clients, 16 under way",
  }),
  atMost(10, "µs", "polling-100-w1", "server_cpu_us", {
    what: "CPU per echo over long-polling, 100 clients",
  }),
  atMost(40, "µs", "churn-50", "server_cpu_us", {
    what: "CPU per cycle of connect, join, leave",
  }),
  atMost(1.15, "× bare send loop", "fanout-10000-64-w1", "latency_p99_ms", {
    what: "latency from publish to the last of 10,000, p99",
    ratio: true,
  }),
  { what: "lost, repeated, reordered, damaged messages, lost clients", measure: faultless },
  atMost(LEAVE_FACTOR, "× before", "soak-leave", "rss_after_over_before", {
    what: `resident memory at most ${LEAVE_LIMIT_S} s after 20,000 clients have left`,
    remark: ({ clients }) => (clients < 20_000 ? `of ${whole(clients)} clients` : null),
  }),
  atMost(CHURN_GROWTH_KIB, "KiB", "soak-churn", "rss_growth_kib", {
    what: "growth of resident memory over 100,000 cycles (less than a byte a cycle)",
  }),
];

/**
 * Each figure: what it is, what was wanted, what was measured, and whether that reaches it: true,
 * false, or null when it was not measured.
 */
export function figuresToReach(results) {
  return figures.map(({ what, measure }) => ({ what, ...measure(results) }));
}

function atMost(limit, unit, scenario, key, details) {
  const { what, server = "fanfare", remark = () => null } = details;
  const measured = (results) => {
    if (details.ratio) return results.ratioToBare(server, scenario, key);
    if (details.ratioTo) return results.ratioTo(details.ratioTo, server, scenario, key);
    return results.figure(server, scenario, key);
  };
  const wanted = `≤ ${Number(limit.toPrecision(3))} ${unit}`;
  const measure = (results) => {
    const runs = results.runs(server, scenario);
    const spread = measured(results);
    const remarks = new Set(runs.map(({ result }) => result && remark(result)).filter(Boolean));
    const reaches = (median) => median <= limit;
    const found = verdict(wanted, spread, reaches, significant, complaints(runs));
    const there = unit === "µs" ? onTheirMachine(results, found, reaches) : null;
    return { ...found, there, remarks: [...remarks] };
  };
  return { what, measure };
}

/** A figure in microseconds, divided by how much slower this machine is, and whether that does. */
function onTheirMachine(results, found, reaches) {
  const bare = results.figure(SET_AT.server, SET_AT.scenario, "server_cpu_us");
  if (bare === null || found.spread === null) return null;
  const value = (found.spread.median * SET_AT.us) / bare.median;
  return { value, reached: reaches(value) && found.notes.length === 0 };
}

/** Not below the best of those plain WebSocket servers that made no mistake. */
function bestPlainPeer(scenario, key) {
  const measure = (results) => {
    const plain = results.rows(scenario).filter(({ server }) => server.kind === "plain");
    const sound = plain.filter(({ runs }) => runs.length > 0 && complaints(runs).length === 0);
    const medians = sound.map(({ server, runs }) => ({
      name: server.name,
      median: figure(runs, key)?.median,
    }));
    const peers = medians.filter(({ median }) => median !== undefined);
    const best = peers.toSorted((a, b) => b.median - a.median)[0];
    if (!best) return { wanted: "≥ the best plain peer", spread: null, reached: null, notes: [] };
    const notes = complaints(results.runs("fanfare", scenario));
    const wanted = `≥ ${rate(best.median)}/s (${best.name})`;
    const spread = results.figure("fanfare", scenario, key);
    return verdict(wanted, spread, (median) => median >= best.median, rate, notes);
  };
  return {
    what: "deliveries/s, 1,000 clients, 64 B, 16 under way, and the best plain peer",
    measure,
  };
}

/** Nothing wrong in any run of fanfare, whatever the scenario. */
function faultless(results) {
  const runs = results.records.filter(({ server }) => server.startsWith("fanfare"));
  const faults = Object.values(faultCounts(runs)).reduce((sum, count) => sum + count, 0);
  const notes = complaints(runs);
  const value = runs.length > 0 ? `${whole(faults)} in ${whole(runs.length)} runs` : null;
  const reached = runs.length > 0 ? faults === 0 && notes.length === 0 : null;
  return { wanted: "0", value, spread: null, reached, notes };
}

function verdict(wanted, spread, isReached, format, notes) {
  if (spread === null) return { wanted, spread, reached: notes.length > 0 ? false : null, notes };
  const reached = isReached(spread.median) && notes.length === 0;
  return { wanted, spread, format, reached, notes };
}

/** A figure is not reached by leaving out the runs that went wrong. */
function complaints(runs) {
  const wrong = ["faulty", "failed"].map((outcome) => [
    outcome,
    runs.filter((run) => run.outcome === outcome).length,
  ]);
  return wrong
    .filter(([, count]) => count > 0)
    .map(([outcome, count]) => `${count} of ${runs.length} runs ${outcome}`);
}

function underWay(scenario) {
  return `${scenarioNamed(scenario).options.window} under way`;
}

function clientsOf(scenario) {
  return whole(scenarioNamed(scenario).options.clients);
}

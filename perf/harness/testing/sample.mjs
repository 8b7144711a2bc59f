// Made-up results for tests and for looking at the plots: plausible shapes, measured by nobody.
import { roundOf } from "../plan.mjs";
import { GROUPS } from "../scenarios.mjs";
import { allServers, whySkipped } from "../servers.mjs";

const TIMING = { seconds: 3, warmup: 0.5, clients_most: 19_800 };

/** Per server: KiB per idle client, µs per send, how many it joins, µs per echo and cycle. */
const SHAPES = {
  fanfare: [0.62, 4.8, 9, 5.4, 38],
  "fanfare-no-handshake": [0.41, 4.8, 9, 5.4, 38],
  "node-ws": [14.3, 10.1, 1.3, 13.9, 371],
  "node-eiows": [13, 9.2, 1.4, 10.1, 267],
  "node-uws": [8.9, 5.6, 7.5, 12, 124],
  socketioxide: [39.3, 7.9, 8, 7.4, 62],
  python: [47.4, 69, 1, 96, 1533],
  "ws-plain": [4.5, 8.4, 1.1, 11.4, 120],
  "tungstenite-plain": [8.2, 7.8, 12, 6.4, 80],
  "uws-plain": [0.45, 4.5, 8, 5.4, 43],
  "limit-send": [0.02, 4.6, 8, 5.1, 30],
  "limit-ring": [0.11, 4.7, 9, 5.1, 30],
  "limit-tokio": [1.1, 4.9, 8, 5.5, 35],
};
const OTHERS = [0.5, 4.9, 8, 5.5, 35];

/** Peers as `perf/peers/peers.json` lists them. */
export const PEERS = [
  ["node-ws", "socketio"],
  ["node-eiows", "socketio", "cannot be built here"],
  ["node-uws", "socketio"],
  ["socketioxide", "socketio"],
  ["python", "socketio"],
  ["ws-plain", "websocket"],
  ["tungstenite-plain", "websocket"],
  ["uws-plain", "websocket"],
].map(([name, protocol, unavailable]) => {
  return { name, protocol, unavailable, description: "made up" };
});

/** A campaign of so many rounds with its records; the same every time. */
export function sample({ root, rounds = 5, cores = 2 }) {
  const random = generator(7);
  const servers = allServers(root, cores);
  const records = [];
  for (let round = 1; round <= rounds; round += 1) {
    for (const batch of roundOf(round, { groups: GROUPS, servers, seed: 1, timing: TIMING })) {
      for (const run of batch.runs) records.push(record(batch, run, random));
    }
  }
  return { records, campaign: campaign(servers) };
}

function record({ round, server }, { scenario, arguments: words }, random) {
  const result = { ...faultless(), ...measured(server.name, scenario, random) };
  if (server.name === "socketioxide" && scenario.options.window === 16) result.reordered = 27_600;
  return {
    scenario: scenario.name,
    server: server.name,
    round,
    started: `2026-11-22T0${round}:00:00.000Z`,
    load_average: 0.1,
    busy_elsewhere: 0,
    stolen: 0,
    arguments: words,
    server_command: server.command("127.0.0.1:5301").join(" "),
    swarm_commands: [`target/release/swarm ${words.join(" ")} --target 127.0.0.1:5301`],
    exit: result.reordered > 0 ? 1 : 0,
    outcome: result.reordered > 0 ? "faulty" : "ok",
    reason: null,
    result,
  };
}

function faultless() {
  return { lost: 0, repeated: 0, reordered: 0, damaged: 0, disconnected: 0 };
}

function measured(name, scenario, random) {
  const [memory, send, joined, echo, churn] = SHAPES[name] ?? OTHERS;
  const near = (value) => value * (0.98 + 0.04 * random());
  const { clients, window = 1, payload = 64 } = scenario.options;
  if (scenario.soak === "leave") return left();
  if (scenario.soak === "churn") return churned();
  if (scenario.mode === "idle") return idle(near(memory * (1 + 600 / clients)), clients);
  const many = clients === 10_000 ? 1.35 : 1;
  const cpu = {
    fanout: (send * many * (payload > 64 ? 1.1 : 1)) / (window > 1 ? joined : 1),
    rooms: send * 1.45,
    echo: echo / (window > 1 ? joined : 1),
    polling: echo * 2.8,
    churn,
  }[scenario.mode];
  return {
    mode: scenario.mode,
    ...loaded(near(cpu), clients * window),
    rss_per_client_kib: near(memory * 1.2),
  };
}

function loaded(cpu, underWay) {
  const latency = (cpu * underWay) / 1000;
  return {
    deliveries: 1_000_000,
    deliveries_per_s: 0.98e6 / cpu,
    server_cpu_us: cpu,
    server_user_us: cpu * 0.06,
    server_system_us: cpu * 0.94,
    server_busy: 0.98,
    swarm_busy: 0.7,
    latency_p50_ms: latency,
    latency_p99_ms: latency * 1.5,
    latency_max_ms: latency * 2.4,
  };
}

function idle(memory, clients) {
  return {
    mode: "idle",
    clients,
    rss_baseline_kib: 6_000,
    rss_kib: 6_000 + memory * clients,
    rss_per_client_kib: memory,
    pss_per_client_kib: memory,
    kernel_per_socket_kib: 3.9,
    connects_per_s: 4_990,
    connect_cpu_us: 60,
  };
}

function left() {
  return {
    clients: 19_800,
    rss_before_kib: 6_000,
    rss_with_clients_kib: 19_000,
    rss_after_kib: 6_300,
    rss_after_over_before: 1.05,
    settled_s: 0.4,
  };
}

function churned() {
  return {
    cycles: 104_000,
    rss_warm_kib: 6_400,
    rss_after_kib: 6_408,
    rss_growth_kib: 8,
    rss_growth_again_kib: 0,
  };
}

function campaign(servers) {
  const source = { commit: "0000000", changed: false, content: "0".repeat(16) };
  const scenarios = GROUPS.flatMap((group) => group.scenarios);
  return {
    identity: {
      source: { fanfare: source, swarm: source, limit: source, peers: source },
      versions: { "node-ws": { node: "v20.20.2", "socket.io": "4.8.4" } },
      rust: "rustc 1.95.0",
      node: "v20.20.2",
    },
    machine: {
      cpu: "AMD EPYC",
      cores: 2,
      virtual: true,
      memory_mib: 24_105,
      kernel: "6.18.44-sample",
      congestion_control: "bbr",
      governor: null,
      boost: null,
      huge_pages: "madvise",
      descriptors: 20_000,
      mitigations: {},
    },
    cores: { cores: [0, 1], chosen: { server: 0, swarm: 1, shared: false }, descriptors: 20_000 },
    timing: TIMING,
    seed: 1,
    quick: false,
    servers: servers.map((server) => ({
      ...server,
      unavailable: server.unavailable ?? null,
      command: server.command("127.0.0.1:PORT").join(" "),
      skipped: Object.fromEntries(
        scenarios
          .map((scenario) => [scenario.name, whySkipped(server, scenario)])
          .filter(([, reason]) => reason !== null),
      ),
    })),
    sessions: [{ started: "2026-11-22T01:00:00.000Z", load_average: 0.1, busy_elsewhere: 0 }],
  };
}

/** Numbers from 0 to 1 that are the same in every run. */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

// Who is measured: fanfare, its peers, the bare loops; how each is started; what it is spared.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const BENCHMARK = "target/release/examples/benchmark";
const LIMIT = "perf/limit/target/release/limit";
const PEERS = "perf/peers/run";

/** The server that every ratio is taken to. */
export const BARE = "limit-send";

/** Servers with next to nothing between the plain application and the kernel, in several ways. */
const LIMITS = [
  ["send", "bare send loop"],
  ["ring", "bare io_uring loop"],
  ["tokio", "bare tokio loop"],
  ["monoio", "bare monoio loop"],
  ["glommio", "bare glommio loop"],
];

/** What peers are spared because it would not end in reasonable time, and why. */
const SPARED = {
  python: {
    connectRate: 500,
    scenarios: {
      "idle-18000": "accepts some 540 connections a second: 18,000 take over half a minute",
      "ten-thousand": "one publish to 10,000 takes over 2 s: too few fit into the time measured",
    },
  },
};

/** Everything that can be measured on a machine with so many cores. */
export function allServers(root, cores) {
  return [...fanfare(), ...scaling(cores), ...peers(root), ...limits()];
}

/** Those that are named, by their own name or by that of their family; all when none is. */
export function selectServers(servers, names) {
  if (names === null) return servers;
  for (const name of names) {
    if (!servers.some((server) => isCalled(server, name))) {
      throw new Error(`there is no server ${name}`);
    }
  }
  return servers.filter((server) => names.some((name) => isCalled(server, name)));
}

function isCalled(server, name) {
  return server.name === name || server.family === name;
}

/** Whether the server is of those that a group compares. */
export function takesPart(server, group) {
  if (server.only) return server.only.includes(group.name);
  if (group.scaling) return false;
  return group.fanfareOnly ? server.kind === "fanfare" : true;
}

/** Why a server that takes part cannot run this scenario; null when it can. */
export function whySkipped(server, scenario) {
  if (server.unavailable) return server.unavailable;
  if (scenario.protocol && scenario.protocol !== server.protocol) {
    return "does not apply: a plain WebSocket server has no long-polling";
  }
  const spared = server.spared ?? {};
  return spared[scenario.name] ?? spared[scenario.group] ?? null;
}

function fanfare() {
  const server = {
    description: "examples/benchmark.rs",
    kind: "fanfare",
    family: "fanfare",
    protocol: "socketio",
  };
  return [
    { ...server, name: "fanfare", label: "fanfare", command: benchmark("--shards", "1") },
    {
      ...server,
      name: "fanfare-no-handshake",
      label: "fanfare, handshake dropped",
      command: benchmark("--shards", "1", "--no-handshake"),
      only: ["memory"],
    },
    {
      ...server,
      name: "fanfare-epoll",
      label: "fanfare on epoll",
      command: benchmark("--shards", "1", "--driver", "epoll"),
      only: ["thousand", "ten-thousand"],
    },
    {
      ...server,
      name: "fanfare-guarded",
      label: "fanfare, all limits and metrics",
      command: benchmark("--shards", "1", "--all-limits", "--metrics", "127.0.0.1:0"),
      only: ["thousand", "memory", "ten-thousand"],
    },
  ];
}

/** The shard counts that a machine with so many cores can show. */
export function shardCounts(cores) {
  if (cores <= 4) return [1, 2];
  const counts = [];
  for (let shards = 1; shards <= cores / 2; shards *= 2) counts.push(shards);
  return counts;
}

function scaling(cores) {
  return shardCounts(cores).map((shards) => ({
    name: `fanfare-${shards}-shard${shards === 1 ? "" : "s"}`,
    description: "examples/benchmark.rs",
    label: `fanfare, ${shards} shard${shards === 1 ? "" : "s"}`,
    kind: "fanfare",
    family: "fanfare",
    protocol: "socketio",
    command: benchmark("--shards", `${shards}`),
    shards,
    only: ["scaling"],
  }));
}

function benchmark(...flags) {
  return (address) => [BENCHMARK, "--listen", address, ...flags];
}

function peers(root) {
  const path = join(root, "perf/peers/peers.json");
  if (!existsSync(path)) throw new Error("perf/peers/peers.json is missing: there are no peers");
  return JSON.parse(readFileSync(path, "utf8")).map((peer) => ({
    name: peer.name,
    label: peer.name,
    description: peer.description,
    kind: peer.protocol === "websocket" ? "plain" : "socketio",
    family: "peers",
    protocol: peer.protocol,
    command: (address) => [PEERS, peer.name, "--listen", address],
    unavailable: peer.unavailable,
    connectRate: SPARED[peer.name]?.connectRate,
    spared: SPARED[peer.name]?.scenarios,
  }));
}

function limits() {
  return LIMITS.map(([subcommand, label]) => ({
    name: `limit-${subcommand}`,
    label,
    description: "the plain application with as little as possible above the kernel",
    kind: "limit",
    family: "limit",
    protocol: "websocket",
    command: (address) => [LIMIT, subcommand, "--listen", address],
  }));
}

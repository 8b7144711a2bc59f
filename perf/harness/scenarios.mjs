// What is measured: the scenarios, and which of them share one start of a server.

import { whole } from "./format.mjs";

/** How fast the load generator connects unless told otherwise. */
const CONNECTS_PER_S = 5000;

/**
 * Groups in the order in which they are measured. The scenarios of one share one start of a server,
 * unless it is `fresh`: then each has a server of its own.
 */
export const GROUPS = [
  {
    name: "thousand",
    scenarios: [
      fanout(1_000, 64, 1),
      fanout(1_000, 64, 16),
      fanout(1_000, 1024, 1),
      fanout(1_000, 1024, 16),
      {
        name: "fanout-1000-64-rate40",
        title: "Open loop: 40 publishes a second to 1,000 clients, 64 B",
        mode: "fanout",
        options: { clients: 1_000, payload: 64, rate: 40 },
      },
      echo(1),
      echo(16),
      {
        name: "polling-100-w1",
        title: "Echo over HTTP long-polling, 100 clients, 1 under way, 64 B",
        mode: "polling",
        protocol: "socketio",
        options: { clients: 100, payload: 64, window: 1 },
      },
      {
        name: "churn-50",
        title: "Connect, join, leave: 50 slots",
        mode: "churn",
        options: { clients: 50 },
      },
    ],
  },
  { name: "memory", fresh: true, scenarios: [1_000, 5_000, 10_000, 18_000].map(idle) },
  {
    name: "ten-thousand",
    // A publish to 10,000 takes long: the time is doubled, so that enough are counted.
    longer: 2,
    // The one whose memory is told comes first: its baseline is that of a fresh server.
    scenarios: [
      { ...fanout(10_000, 1024, 1), memory: true },
      fanout(10_000, 64, 1),
      {
        name: "rooms-10000-w16",
        title: "Rooms of 10, 10,000 clients, 64 B, 16 publishes under way",
        mode: "rooms",
        options: { clients: 10_000, payload: 64, window: 16, "room-size": 10 },
      },
    ],
  },
  {
    name: "scaling",
    scaling: true,
    scenarios: [{ ...fanout(1_000, 64, 16), name: "scaling-fanout-1000-64-w16" }],
  },
  {
    name: "soak",
    fanfareOnly: true,
    fresh: true,
    scenarios: [
      {
        name: "soak-leave",
        title: "Everybody leaves, twice: resident memory afterwards",
        mode: "idle",
        soak: "leave",
        options: {},
      },
      {
        name: "soak-churn",
        title: "100,000 cycles of connect, join, leave: resident memory afterwards",
        mode: "churn",
        soak: "churn",
        options: { clients: 50 },
      },
    ],
  },
].map(inherit);

export const SCENARIOS = GROUPS.flatMap((group) => group.scenarios);

/** The scenario of this name. */
export function scenarioNamed(name) {
  const found = SCENARIOS.find((scenario) => scenario.name === name);
  if (!found) throw new Error(`there is no scenario ${name}`);
  return found;
}

/** The groups with only those scenarios that are named, by their own name or their group's. */
export function selectGroups(names) {
  if (names === null) return GROUPS;
  for (const name of names) {
    const known = GROUPS.some((group) => group.name === name);
    if (!known) scenarioNamed(name);
  }
  const chosen = GROUPS.map((group) => ({
    ...group,
    scenarios: names.includes(group.name)
      ? group.scenarios
      : group.scenarios.filter((scenario) => names.includes(scenario.name)),
  }));
  return chosen.filter((group) => group.scenarios.length > 0);
}

/** The load generator's arguments for this scenario, but for those that differ from run to run. */
export function swarmArguments(scenario, server, timing) {
  const options = { protocol: server.protocol, ...scenario.options };
  if (server.connectRate && scenario.mode !== "churn") options["connect-rate"] = server.connectRate;
  if (scenario.soak === "leave") options.clients = timing.clients_most;
  if (scenario.mode !== "idle") {
    options.seconds = timing.seconds * scenario.longer;
    options.warmup = timing.warmup;
  }
  const words = Object.entries(options).flatMap(([name, value]) => [`--${name}`, `${value}`]);
  return [scenario.mode, ...words];
}

/** How long such a run may take at most. */
export function limitSeconds(scenario, server, timing) {
  const clients = scenario.options.clients ?? timing.clients_most;
  const connects = clients / (server.connectRate ?? CONNECTS_PER_S);
  return Math.ceil(60 + 4 * connects + 2 * timing.seconds * scenario.longer);
}

/** Scenarios know what they need of their group. */
function inherit(group) {
  const { name, longer = 1 } = group;
  const scenarios = group.scenarios.map((scenario) => ({ ...scenario, group: name, longer }));
  return { ...group, scenarios };
}

function fanout(clients, payload, window) {
  return {
    name: `fanout-${clients}-${payload}-w${window}`,
    title: `Fan-out to ${whole(clients)} clients, ${whole(payload)} B, ${publishes(window)}`,
    mode: "fanout",
    options: { clients, payload, window },
  };
}

function echo(window) {
  return {
    name: `echo-100-w${window}`,
    title: `Echo with acknowledgement, 100 clients, ${window} under way each, 64 B`,
    mode: "echo",
    options: { clients: 100, payload: 64, window },
  };
}

function idle(clients) {
  return {
    name: `idle-${clients}`,
    title: `${whole(clients)} idle clients`,
    mode: "idle",
    options: { clients },
  };
}

function publishes(window) {
  return window === 1 ? "1 publish under way" : `${window} publishes under way`;
}

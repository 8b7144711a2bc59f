// The text of the report: perf/report/README.md.
import { FILES } from "./charts.mjs";
import { ofRounds, significant, table, whole } from "./format.mjs";
import { LOAD_LIMIT } from "./machine.mjs";
import { scalingInWords } from "./placement.mjs";
import { GROUPS, SCENARIOS, scenarioNamed } from "./scenarios.mjs";
import { figuresTable, loadTable, memoryTable, soakTable } from "./tables.mjs";

/** More than this many cores busy with something else is told. */
const BUSY_LIMIT = 0.2;

/** The whole page, from the raw data alone, with those plots that there are. */
export function readme(results, plots) {
  const image = (file, words) => (plots.includes(file) ? `![${words}](${file})` : null);
  const sections = [
    title(results, image),
    figures(results),
    memory(results, image),
    ...loads(results, image),
    scaling(results),
    soak(results),
    inside(results.campaign),
    whoIsWho(results),
    spared(results),
    machine(results.campaign),
    versions(results.campaign),
    method(results),
    commands(results),
  ];
  return `${sections.filter(Boolean).join("\n\n")}\n`;
}

function title(results, image) {
  const { campaign, records } = results;
  const dates = records.map((record) => record.started.slice(0, 10)).toSorted();
  const range = dates[0] === dates.at(-1) ? dates[0] : `${dates[0]} to ${dates.at(-1)}`;
  const names = SCENARIOS.map((scenario) => scenario.name);
  const lines = [
    "# What fanfare and its peers do on the same machine",
    "",
    "Written by `make report` from the raw data beside it; changes belong into perf/harness.",
    `Measured ${range}; ${ofRounds(results.roundCounts(names))}.`,
    campaign.quick ? "\n**A quick run, for trying: no figure here means anything.**" : null,
    ...warnings(results).map((warning) => `\n**${warning}**`),
    "",
    image(FILES.headline, "Memory per idle client, and deliveries a second in a loaded room"),
  ];
  return lines.filter((line) => line !== null).join("\n");
}

/** What makes the figures doubtful. */
function warnings({ campaign, records }) {
  const found = [];
  const loaded = campaign.sessions.filter(({ load_average }) => load_average > LOAD_LIMIT);
  if (loaded.length > 0) {
    const highest = Math.max(...loaded.map(({ load_average }) => load_average));
    found.push(
      `The machine was busy when ${loaded.length} of ${campaign.sessions.length} sessions began ` +
        `(load average ${highest.toFixed(2)}).`,
    );
  }
  const disturbed = records.filter((record) => record.busy_elsewhere > BUSY_LIMIT);
  if (disturbed.length > 0) {
    found.push(
      `${disturbed.length} of ${records.length} runs began while something else used more than ` +
        `${BUSY_LIMIT} of a core.`,
    );
  }
  if (campaign.cores.chosen.shared) {
    found.push("Server and load generator ran on two threads of one physical core.");
  }
  return found;
}

function figures(results) {
  return section("Figures to reach", [
    figuresTable(results),
    "Computed from the medians; a figure is not reached when any of its runs was faulty or failed.",
    "Figures in microseconds were set on a machine whose bare send loop took 4.59 µs for a delivery " +
      "to 1,000 clients. The last column divides by how much longer it takes here.",
  ]);
}

/** What needed no load generator. */
function inside({ inside: found }) {
  if (!found) return null;
  const clients = [...new Set(found.sessions.map((line) => line.clients))];
  const bytes = (count, kept) =>
    found.sessions.find((line) => line.clients === count && line.keep_handshake === kept)
      ?.heap_bytes_per_client;
  const rows = clients.map((count) => [
    whole(count),
    significant(bytes(count, true)),
    significant(bytes(count, false)),
  ]);
  const [{ samples, hop_p50_us, hop_p99_us }] = found.hop;
  return section("Without sockets", [
    "Bytes of the heap for an idle client, as the allocator was asked for them, by a whole shard " +
      "whose kernel is a stand-in (`cargo bench --bench sessions`). The driver's 32 bytes for a " +
      "connection come on top.",
    table(["idle clients", "handshake kept", "handshake dropped"], rows),
    `A shard that sleeps answers another thread in ${significant(hop_p50_us)} µs (median of ` +
      `${whole(samples)}; p99 ${significant(hop_p99_us)} µs): the wake-up, a turn, the answer ` +
      "(`cargo bench --bench hop`). One that is awake needs no wake-up.",
  ]);
}

function memory(results, image) {
  if (
    !GROUPS.find(({ name }) => name === "memory").scenarios.some(({ name }) => results.has(name))
  ) {
    return null;
  }
  return section("Memory", [
    image(FILES.memory, "Resident memory per idle client, over the number of clients"),
    "KiB per client above what the server used before the first came. Kernel: what the kernel " +
      "keeps for the server's end of a connection, which no resident memory shows.",
    memoryTable(results),
  ]);
}

/** The plots that stand in front of some scenarios. */
const PLOTS = {
  "fanout-1000-64-w1": [
    [FILES.rate, "Deliveries a second, by payload and publishes under way"],
    [FILES.cpu, "CPU per delivery, by payload and publishes under way"],
    [FILES.latency, "Latency from publish to the last client"],
  ],
  "echo-100-w1": [[FILES.echo, "CPU per echo, and per cycle of connect, join, leave"]],
};

function loads(results, image) {
  const groups = GROUPS.filter(({ name }) => ["thousand", "ten-thousand"].includes(name));
  const scenarios = groups
    .flatMap((group) => group.scenarios)
    .filter(({ name }) => results.has(name));
  return scenarios.map(({ name, title: words }) => {
    const plots = (PLOTS[name] ?? []).map(([file, alternative]) => image(file, alternative));
    return section(words, [...plots, loadTable(results, name)]);
  });
}

function scaling(results) {
  const { name } = GROUPS.find(({ scaling: is }) => is).scenarios[0];
  if (!results.has(name)) return null;
  const words = scalingInWords(results.campaign.cores.cores.length);
  return section(`Shards: ${scenarioNamed(name).title}`, [words, loadTable(results, name)]);
}

function soak(results) {
  const found = SCENARIOS.filter((scenario) => scenario.soak && results.has(scenario.name));
  if (found.length === 0) return null;
  const parts = found.flatMap(({ name, title: words }) => [`${words}.`, soakTable(results, name)]);
  return section("Memory over time", parts);
}

/** Who was not measured where, and why: nobody is missing without a word. */
function spared({ campaign }) {
  const byReason = new Map();
  for (const { label, skipped } of campaign.servers) {
    for (const [reason, names] of reasonsOf(skipped)) {
      const scenarios = names.length === SCENARIOS.length ? "all" : names.join(", ");
      const key = JSON.stringify([scenarios, reason]);
      byReason.set(key, [...(byReason.get(key) ?? []), label]);
    }
  }
  if (byReason.size === 0) return null;
  const rows = [...byReason].map(([key, labels]) => [labels.join(", "), ...JSON.parse(key)]);
  return section("Not measured", [table(["server", "scenarios", "why"], rows)]);
}

function reasonsOf(skipped) {
  const found = new Map();
  for (const [name, reason] of Object.entries(skipped)) {
    found.set(reason, [...(found.get(reason) ?? []), name]);
  }
  return found;
}

/** What each name stands for. */
function whoIsWho({ campaign }) {
  const kinds = {
    fanfare: "Socket.IO",
    socketio: "Socket.IO",
    plain: "WebSocket",
    limit: "WebSocket",
  };
  const rows = campaign.servers.map(({ label, description, kind }) => {
    return [label, kinds[kind], description ?? ""];
  });
  return section("Servers", [table(["server", "speaks", "what it is"], rows)]);
}

function machine({ machine: found, identity, cores }) {
  const { server, swarm } = cores.chosen;
  const rows = [
    ["CPU", `${found.cpu}, ${found.cores} cores${found.virtual ? ", virtual machine" : ""}`],
    [
      "memory",
      `${significant(found.memory_mib)} MiB, huge pages: ${found.huge_pages ?? "unknown"}`,
    ],
    ["kernel", `Linux ${found.kernel}`],
    ["frequency governor", found.governor ?? "none (not visible)"],
    ["boost", found.boost ?? "not visible"],
    ["TCP congestion control", found.congestion_control],
    ["descriptors a process may have", significant(found.descriptors)],
    ["core of the server", server],
    ["core of the load generator", swarm],
    ["Rust", identity.rust],
    ["Node.js of the harness", identity.node],
    ...Object.entries(found.mitigations),
  ];
  return section("Machine", [table(["", ""], rows)]);
}

function versions({ identity }) {
  const source = Object.entries(identity.source).map(([part, { commit, changed, content }]) => {
    const state = commit === null ? "not committed" : commit + (changed ? " with changes" : "");
    return [part, `${state} (content ${content})`];
  });
  const peers = Object.entries(identity.versions).map(([name, parts]) => {
    return [
      name,
      Object.entries(parts)
        .map(([part, version]) => `${part} ${version}`)
        .join(", "),
    ];
  });
  return section("Versions", [table(["part", "version"], [...source, ...peers])]);
}

function method({ campaign, records }) {
  const { timing, seed, sessions } = campaign;
  const rounds = [...new Set(records.map((record) => record.round))].toSorted((a, b) => a - b);
  const spans = rounds.map((round) => {
    const times = records.filter((record) => record.round === round).map(({ started }) => started);
    const [first, last] = [times.toSorted()[0], times.toSorted().at(-1)];
    return [round, first.slice(0, 16).replace("T", " "), last.slice(0, 16).replace("T", " ")];
  });
  return section("How it was measured", [
    "- One server at a time, on a core of its own; the load generator on another, spinning. " +
      "Every server is started anew for each group of scenarios and each round.\n" +
      "- Rounds are interleaved: each has all servers, in an order drawn from the seed " +
      `${seed} and the round's number. A ratio to the bare send loop is taken within each ` +
      "round, then the median of the ratios.\n" +
      `- ${timing.warmup} s to warm up, then ${timing.seconds} s measured (twice that with ` +
      "10,000 clients). Cells: median (lowest–highest); latencies and shares are medians, max " +
      "is the greatest of all rounds.\n" +
      "- CPU is the server's, of all its threads, in user space and kernel together. Over " +
      "loopback the sender's core also does the receiver's part of TCP: compare with the bare " +
      "loop of the same rounds, not with other machines.\n" +
      "- Latency of fan-outs and rooms: from when a publish was due to its last delivery. " +
      "Errors: the sum over all rounds.\n" +
      "- Each run with its exact commands, exit status and full result is a line in `raw/`.",
    table(["round", "first run (UTC)", "last run (UTC)"], spans),
    table(
      ["session", "load average before", "cores busy elsewhere"],
      sessions.map(({ started, load_average, busy_elsewhere }) => [
        started.slice(0, 16).replace("T", " "),
        load_average.toFixed(2),
        busy_elsewhere.toFixed(2),
      ]),
    ),
  ]);
}

function commands(results) {
  const { servers, cores } = results.campaign;
  const limit = `prlimit --nofile=${cores.descriptors}:${cores.descriptors}`;
  const available = servers.filter(({ unavailable }) => unavailable === null);
  const started = available.map(({ command, only }) => {
    const pinned = only?.includes("scaling") ? "" : ` taskset -c ${cores.chosen.server}`;
    return `${limit}${pinned} ${command}`;
  });
  const loaded = SCENARIOS.filter(({ name }) => results.has(name)).map(({ name }) => {
    const record = results.records.find(
      (found) => found.scenario === name && found.swarm_commands.length > 0,
    );
    return record && generalised(record);
  });
  return section("Commands", [
    "Servers; peers are installed with `perf/peers/run --install NAME`:",
    code(started),
    "Load, here against one of them each; a plain WebSocket server gets `--protocol websocket`:",
    code(loaded.filter(Boolean)),
  ]);
}

/** A command as it ran, but for what differs from start to start. */
function generalised(record) {
  const command = record.swarm_commands[0];
  return command
    .replace(/--target \S+/, "--target 127.0.0.1:PORT")
    .replace(/--server-pid \d+/, "--server-pid PID");
}

function code(lines) {
  return ["```sh", ...lines, "```"].join("\n");
}

function section(heading, parts) {
  return [`## ${heading}`, ...parts.filter((part) => part !== null)].join("\n\n");
}

// Which plots there are, and what they show of the results.
import { ofRounds, rate, significant } from "./format.mjs";
import { faultCounts } from "./judgement.mjs";
import { Canvas, INK, KINDS, textWidth } from "./plot.mjs";
import { barPanel, linePanel, namesWidth, panelHeight, rangePanel } from "./plot.mjs";
import { scenarioNamed } from "./scenarios.mjs";
import { BARE } from "./servers.mjs";
import { figure } from "./statistics.mjs";

export const FILES = {
  headline: "headline.svg",
  memory: "memory.svg",
  rate: "fanout-rate.svg",
  cpu: "fanout-cpu.svg",
  latency: "latency.svg",
  echo: "echo-churn.svg",
};

const WIDTH = 980;
const MARGIN = 28;
const GAP = 40;
const HEADER = 96;
const WHISKERS = "whiskers: lowest to highest";

const RATE = { key: "deliveries_per_s", best: "most", format: rate, unit: "deliveries per second" };
const CPU = { key: "server_cpu_us", best: "least", format: significant };
const PER_DELIVERY = { ...CPU, unit: "µs of the server's CPU per delivery" };
const PER_ECHO = { ...CPU, unit: "µs of the server's CPU per echo" };
const PER_CYCLE = { ...CPU, unit: "µs of the server's CPU per cycle" };
const FANOUTS = [
  ["fanout-1000-64-w1", "64 B, 1 publish under way"],
  ["fanout-1000-64-w16", "64 B, 16 publishes under way"],
  ["fanout-1000-1024-w1", "1 KiB, 1 publish under way"],
  ["fanout-1000-1024-w16", "1 KiB, 16 publishes under way"],
];

/** Every plot whose data is there: its file and its text. */
export function charts(results) {
  const drawn = [
    headline(results),
    memory(results),
    bars(results, {
      file: FILES.rate,
      title: "Deliveries a second: fan-out to 1,000 clients",
      better: "more is better",
      wanted: FANOUTS.map(([scenario, title]) => [scenario, title, RATE]),
    }),
    bars(results, {
      file: FILES.cpu,
      title: "CPU per delivery: fan-out to 1,000 clients",
      better: "less is better",
      wanted: FANOUTS.map(([scenario, title]) => [scenario, title, PER_DELIVERY]),
    }),
    latency(results),
    bars(results, {
      file: FILES.echo,
      title: "Echo and churn: CPU of the server",
      better: "less is better",
      wanted: [
        ["echo-100-w1", "Echo, 100 clients, 1 under way each", PER_ECHO],
        ["echo-100-w16", "Echo, 100 clients, 16 under way each", PER_ECHO],
        ["polling-100-w1", "Echo over long-polling, 100 clients", PER_ECHO],
        ["churn-50", "Connect, join, leave: 50 at a time", PER_CYCLE],
      ],
    }),
  ];
  return drawn.filter((chart) => chart !== null);
}

/** The picture of the project: what an idle client costs, and what a loaded room delivers. */
function headline(results) {
  const idle = {
    key: "rss_per_client_kib",
    best: "least",
    format: significant,
    unit: "KiB of resident memory per idle client; less is better",
    without: ["limit"],
  };
  const loaded = { ...RATE, unit: "deliveries per second; more is better" };
  return bars(results, {
    file: FILES.headline,
    title: "fanfare and its peers, one core each",
    better: null,
    wanted: [
      ["idle-10000", "Memory, 10,000 clients connected", idle],
      ["fanout-1000-64-w16", "A loaded room: 1,000 clients, 64 B, 16 under way", loaded],
    ],
  });
}

/** Panels of bars, two in a row. */
function bars(results, { file, title, better, wanted }) {
  const panels = wanted
    .filter(([scenario]) => results.has(scenario))
    .map(([scenario, panelTitle, measure]) => ({
      scenario,
      title: panelTitle,
      ...measure,
      rows: barRows(results, scenario, measure),
    }));
  if (panels.length === 0) return null;
  const notes = [WHISKERS, better].filter(Boolean);
  return grid(results, { file, title, notes, panels, draw: barPanel });
}

function latency(results) {
  const unit = "ms from when a publish was due to its last delivery";
  const panels = [
    ["fanout-1000-64-w1", "To 1,000 clients, 1 publish under way"],
    ["fanout-10000-64-w1", "To 10,000 clients, 1 publish under way"],
    ["fanout-1000-64-rate40", "To 1,000 clients, 40 publishes a second"],
    ["rooms-10000-w16", "Rooms of 10 among 10,000, 16 under way"],
  ]
    .filter(([scenario]) => results.has(scenario))
    .map(([scenario, title]) => {
      return { scenario, title, unit, rows: latencyRows(results, scenario) };
    });
  if (panels.length === 0) return null;
  return grid(results, {
    file: FILES.latency,
    title: "Latency to the last client",
    notes: ["full dot p50, ring p99, tick greatest", "less is better"],
    panels,
    draw: rangePanel,
  });
}

/** Panels two by two under one header, those beside each other equally high. */
function grid(results, { file, title, notes, panels, draw }) {
  const canvas = new Canvas(WIDTH);
  const width = (WIDTH - 2 * MARGIN - GAP) / 2;
  const names = [0, 1].map((column) => {
    return namesWidth(
      panels.filter((_, index) => index % 2 === column).flatMap(({ rows }) => rows),
    );
  });
  let y = header(canvas, results, title, notes, panels);
  for (let first = 0; first < panels.length; first += 2) {
    const pair = panels.slice(first, first + 2);
    pair.forEach((panel, column) => {
      const x = MARGIN + column * (width + GAP);
      draw(canvas, { ...panel, x, y, width, names: names[column] });
    });
    y += Math.max(...pair.map((panel) => panelHeight(panel.rows.length))) + 14;
  }
  const height = footer(canvas, y, [
    faultNote(panels.flatMap((panel) => panel.rows)),
    absentNote(results),
  ]);
  return { file, canvas, svg: canvas.toString(height, title, describe(results, panels)) };
}

function header(canvas, results, title, notes, panels) {
  canvas.text(MARGIN, 38, title, { size: 20, weight: 600, fill: INK.strong });
  const scenarios = panels.map((panel) => panel.scenario);
  const counts = results.roundCounts(scenarios);
  const isSingle = counts.every((count) => count === 1);
  const words = [ofRounds(counts), ...notes.filter((note) => !isSingle || note !== WHISKERS)];
  const { cpu, kernel } = results.campaign.machine;
  const line = [...words, `${cpu}, Linux ${/^[\d.]+\d/.exec(kernel)?.[0] ?? kernel}`];
  canvas.text(MARGIN, 60, sentence(line.join("  ·  ")), { size: 12, fill: INK.faint });
  const kinds = new Set(panels.flatMap((panel) => panel.rows.map((row) => row.kind)));
  let x = MARGIN;
  for (const [kind, { fill, stroke, words: name }] of Object.entries(KINDS)) {
    if (!kinds.has(kind)) continue;
    canvas.rect(x, 74, 11, 11, { fill, stroke, "stroke-dasharray": KINDS[kind].dash ?? "none" });
    canvas.text(x + 17, 84, name, { size: 12 });
    x += 17 + textWidth(name, 12) + 22;
  }
  return HEADER + 12;
}

function sentence(text) {
  return text[0].toUpperCase() + text.slice(1);
}

/** Faults are not only in the table: a bar that cheats says so. */
function faultNote(rows) {
  const names = new Set(rows.flatMap((row) => Object.keys(row.faults)));
  return names.size > 0 ? `† messages were ${[...names].join(", ")}: see the table` : null;
}

/** Who has no row. */
function absentNote({ campaign }) {
  const absent = campaign.servers.filter(({ unavailable }) => unavailable !== null);
  const labels = absent.map(({ label }) => label);
  return labels.length > 0 ? `not available on this machine: ${labels.join(", ")}` : null;
}

/** Notes below each other; the height of the whole picture. */
function footer(canvas, top, notes) {
  let y = top;
  for (const note of notes.filter((words) => words !== null)) {
    canvas.text(MARGIN, y + 6, note, { size: 12 });
    y += 18;
  }
  return y + 8;
}

function describe(results, panels) {
  const best = panels.map(({ title, rows }) => `${title}: ${rows[0].name} ${rows[0].text}`);
  return `${best.join("; ")}.`;
}

/** The rows of a scenario that a plot has room for: of the bare loops, only the send loop. */
function plotted(results, scenario, without = []) {
  return results
    .rows(scenario)
    .filter(({ server }) => server.kind !== "limit" || server.name === BARE)
    .filter(({ server, runs }) => !server.unavailable || runs.length > 0)
    .filter(({ server }) => !without.includes(server.kind))
    .map(({ server, runs, skipped }) => {
      const faults = faultCounts(runs);
      const mark = Object.keys(faults).length > 0 ? " †" : "";
      return { name: server.label + mark, kind: server.kind, faults, runs, skipped };
    });
}

function barRows(results, scenario, { key, best, format, without }) {
  const rows = plotted(results, scenario, without).map((row) => {
    const found = figure(row.runs, key);
    if (found === null) return { ...row, value: null, text: row.skipped ?? "failed" };
    const { median, min, max } = found;
    return { ...row, value: median, min, max, text: format(median) };
  });
  const sign = best === "least" ? 1 : -1;
  return shortened(rows.toSorted((a, b) => order(a.value, b.value, sign)));
}

function latencyRows(results, scenario) {
  const rows = plotted(results, scenario).map((row) => {
    const [p50, p99, most] = ["p50", "p99", "max"].map((name) => {
      return figure(row.runs, `latency_${name}_ms`);
    });
    if (p50 === null || p99 === null || most === null) {
      return { ...row, p50: null, text: row.skipped ?? "failed" };
    }
    const text = `${significant(p50.median)} / ${significant(p99.median)}`;
    return { ...row, p50: p50.median, p99: p99.median, most: most.max, text };
  });
  return shortened(rows.toSorted((a, b) => order(a.p99 ?? null, b.p99 ?? null, 1)));
}

/** Those without a value come last. */
function order(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (a - b);
}

/** The whole reason stands in the table. */
function shortened(rows) {
  return rows.map((row) => {
    const missing = row.value === null || row.p50 === null;
    return missing && row.skipped ? { ...row, text: "not measured" } : row;
  });
}

/** Memory per idle client over how many there are. */
function memory(results) {
  const scenarios = ["idle-1000", "idle-5000", "idle-10000", "idle-18000"];
  const lines = results.campaign.servers
    .filter(({ kind }) => kind !== "limit")
    .map(({ name, label, kind }) => ({
      name: label,
      kind,
      dash: name === "fanfare-no-handshake" ? "6 4" : undefined,
      points: scenarios.flatMap((scenario) => {
        const found = results.figure(name, scenario, "rss_per_client_kib");
        if (found === null || found.min <= 0) return [];
        const at = scenarioNamed(scenario).options.clients;
        return [{ at, value: found.median, min: found.min, max: found.max }];
      }),
    }))
    .filter(({ points }) => points.length > 0);
  if (lines.length === 0) return null;
  const canvas = new Canvas(WIDTH);
  const title = "Resident memory per idle client";
  const panels = scenarios.map((scenario) => ({ scenario, rows: lines }));
  const y = header(canvas, results, title, [WHISKERS, "less is better"], panels);
  const height = Math.max(420, 60 + lines.length * 22);
  linePanel(canvas, {
    x: MARGIN,
    y,
    width: WIDTH - 2 * MARGIN,
    height,
    lines,
    units: { across: "clients connected", up: "KiB per client (logarithmic)" },
    format: significant,
  });
  const whole = footer(canvas, y + height + 10, [absentNote(results)]);
  const values = lines.map(({ name, points }) => `${name} ${significant(points.at(-1).value)}`);
  const svg = canvas.toString(whole, title, `${values.join("; ")}.`);
  return { file: FILES.memory, canvas, svg };
}

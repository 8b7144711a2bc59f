// What the lines of the clients' programs amount to, and the table of it. Pure.
import { SCENARIOS, TRANSPORTS, applies } from "./scenarios.js";

const MARKS = { passed: "✓", failed: "✗", missing: "?", inapplicable: "·" };

/** What a client must be tried with, one run for each transport. */
export function runsOf(client) {
  return TRANSPORTS.map((transport) => {
    const tried = (scenario) => applies(scenario, transport) && !reasonAgainst(client, transport, scenario);
    return { transport, scenarios: Object.keys(SCENARIOS).filter(tried) };
  });
}

/** Why a client cannot do this: at all, or on that transport. */
function reasonAgainst(client, transport, scenario) {
  const reason = client.cannot?.[scenario];
  return typeof reason === "object" ? reason[transport] : reason;
}

/**
 * What the program of a client reported: its version, by cell (`transport scenario`) the error or
 * null, and what cannot be right about the report as such.
 */
export function reported(client, output) {
  const expected = new Set();
  for (const { transport, scenarios } of runsOf(client)) {
    for (const scenario of scenarios) expected.add(`${transport} ${scenario}`);
  }
  const [cells, faults] = [new Map(), []];
  let version;
  for (const line of output.split("\n").filter((line) => line.startsWith("{"))) {
    const said = parsed(line);
    if (said?.version !== undefined) version = said.version;
    else if (said?.scenario === undefined || said.error === undefined) faults.push(`said ${line}`);
    else record(`${said.transport} ${said.scenario}`, said.error);
  }
  if (version === undefined) faults.push("did not say its version");
  return { version, cells, faults };

  function record(cell, error) {
    if (!expected.has(cell)) faults.push(`reported ${cell}, which was not asked for`);
    else if (cells.has(cell)) faults.push(`reported ${cell} twice`);
    cells.set(cell, error);
  }
}

function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/**
 * The table and what is wrong, of clients and, for each, its reports: one for every number of
 * shards, `{ shards, report, fault }`. Nothing is wrong only if every cell ran every time.
 */
export function verdict(clients, rounds, reportsOf) {
  const notes = new Notes();
  const rows = Object.keys(SCENARIOS).map((scenario) => {
    const marks = clients.map((client) => {
      return TRANSPORTS.map((transport) => mark(client, transport, scenario)).join("");
    });
    return [scenario, ...marks];
  });
  const problems = clients.flatMap((client) => problemsOf(client, rounds, reportsOf(client)));
  const heading = ["", ...clients.map((client) => client.name)];
  return { table: text([heading, ...rows]), notes: notes.text(), problems };

  function mark(client, transport, scenario) {
    if (!applies(scenario, transport)) return MARKS.inapplicable;
    const reason = reasonAgainst(client, transport, scenario);
    if (reason) return notes.of(reason);
    const reports = reportsOf(client);
    const errors = reports.map(({ report }) => report.cells.get(`${transport} ${scenario}`));
    if (errors.some((error) => typeof error === "string")) return MARKS.failed;
    const passed = errors.filter((error) => error === null).length;
    return passed === rounds.length ? MARKS.passed : MARKS.missing;
  }
}

/** All that is wrong with the reports of one client. */
function problemsOf(client, rounds, reports) {
  return rounds.flatMap((shards) => {
    const { report, fault } = reports.find((each) => each.shards === shards) ?? {};
    if (!report) return [`${client.name}, shards ${shards}: was not run`];
    const cells = runsOf(client).flatMap((run) => wrong(run, report.cells));
    const all = [...report.faults, ...(fault ? [fault] : []), ...cells];
    return all.map((what) => `${client.name}, shards ${shards}: ${what}`);
  });
}

function wrong({ transport, scenarios }, cells) {
  const error = (scenario) => cells.get(`${transport} ${scenario}`);
  const failed = scenarios.filter((scenario) => typeof error(scenario) === "string");
  const missing = scenarios.filter((scenario) => error(scenario) === undefined);
  const problems = failed.map((scenario) => `${transport}, ${scenario}: ${error(scenario)}`);
  if (missing.length > 0) problems.push(`${transport}: did not run: ${missing.join(", ")}`);
  return problems;
}

/** Letters for the reasons why clients cannot do something. */
class Notes {
  #reasons = [];

  of(reason) {
    if (!this.#reasons.includes(reason)) this.#reasons.push(reason);
    return letter(this.#reasons.indexOf(reason));
  }

  text() {
    return this.#reasons.map((reason, i) => `${letter(i)}  not supported: ${reason}`).join("\n");
  }
}

const letter = (index) => String.fromCharCode("a".charCodeAt(0) + index);

function text(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) => {
    return row.map((cell, column) => cell.padEnd(widths[column])).join("  ").trimEnd();
  }).join("\n");
}

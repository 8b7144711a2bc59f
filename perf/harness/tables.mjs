// The tables of the report, in Markdown.
import { figuresToReach } from "./figures.mjs";
import { cell, factor, rate, significant, table } from "./format.mjs";
import { faultsInWords } from "./judgement.mjs";
import { scenarioNamed } from "./scenarios.mjs";
import { figure, spread } from "./statistics.mjs";

const IDLE = ["idle-1000", "idle-5000", "idle-10000", "idle-18000"];

/** What is counted in each mode: its plural, and one of it. */
const COUNTED = {
  fanout: ["deliveries", "delivery"],
  rooms: ["deliveries", "delivery"],
  echo: ["replies", "reply"],
  polling: ["replies", "reply"],
  churn: ["cycles", "cycle"],
};

/** One scenario: a row for each server, also for those that were spared it. */
export function loadTable(results, scenario) {
  const [many, one] = COUNTED[scenarioNamed(scenario).mode];
  const head = ["server", "n", `${many}/s`, `CPU µs per ${one}`, "user", "system"];
  head.push("× bare send loop", "p50 ms", "p99 ms", "max ms");
  head.push("server busy", "swarm busy", "errors");
  const rows = results
    .rows(scenario)
    .toSorted(byRate)
    .map(({ server, runs, skipped }) => {
      if (skipped) return spared(server, skipped, head);
      const of = (key) => figure(runs, key);
      const middle = (key, format = significant) => middleOf(of(key), format);
      return [
        serverName(server),
        runs.filter((run) => run.result !== null).length,
        cell(of("deliveries_per_s"), rate),
        cell(of("server_cpu_us")),
        middle("server_user_us"),
        middle("server_system_us"),
        cell(results.ratioToBare(server.name, scenario, "server_cpu_us"), factor),
        middle("latency_p50_ms"),
        middle("latency_p99_ms"),
        greatest(of("latency_max_ms")),
        middle("server_busy", factor),
        middle("swarm_busy", factor),
        errors(runs),
      ];
    });
  return table(head, rows);
}

function byRate(a, b) {
  const of = ({ runs }) => figure(runs, "deliveries_per_s")?.median ?? -1;
  return of(b) - of(a);
}

/** Memory: idle at every size, then after traffic. */
export function memoryTable(results) {
  const sizes = IDLE.filter((scenario) => results.has(scenario));
  const [largest, traffic] = [sizes.at(-1), "fanout-10000-1024-w1"];
  const count = clientsIn(largest);
  const head = ["server", "before, MiB", ...sizes.map(clientsIn)];
  head.push(`PSS, ${count}`, `kernel, ${count}`);
  head.push("after 1 KiB to 10,000", "connects/s", "CPU µs per connect", "errors");
  const rows = results.rows(largest).map(({ server, skipped }) => {
    if (server.unavailable) return spared(server, skipped, head);
    const of = (scenario, key) => results.figure(server.name, scenario, key);
    const all = [...sizes, traffic].flatMap((scenario) => results.runs(server.name, scenario));
    const memory = (scenario) => {
      const found = of(scenario, "rss_per_client_kib");
      return found ? cell(found) : (server.skipped[scenario] ?? "–");
    };
    const mebibytes = spread(
      results.runs(server.name, largest).map((run) => run.result?.rss_baseline_kib / 1024),
    );
    return [
      serverName(server),
      middleOf(mebibytes, significant),
      ...sizes.map(memory),
      cell(of(largest, "pss_per_client_kib")),
      cell(of(largest, "kernel_per_socket_kib")),
      memory(traffic),
      middleOf(of(largest, "connects_per_s"), rate),
      middleOf(of(largest, "connect_cpu_us"), significant),
      errors(all),
    ];
  });
  return table(head, rows);
}

function clientsIn(scenario) {
  return significant(scenarioNamed(scenario).options.clients);
}

/** Memory after everybody has left, and after very many have come and gone. */
export function soakTable(results, scenario) {
  const columns = {
    "soak-leave": {
      clients: "clients",
      "before, KiB": "rss_before_kib",
      "with them, KiB": "rss_with_clients_kib",
      "afterwards, KiB": "rss_after_kib",
      "× before": "rss_after_over_before",
      "after s": "settled_s",
    },
    "soak-churn": {
      cycles: "cycles",
      "warm, KiB": "rss_warm_kib",
      "afterwards, KiB": "rss_after_kib",
      "growth, KiB": "rss_growth_kib",
      "and over as many again": "rss_growth_again_kib",
    },
  }[scenario];
  const head = ["server", "n", ...Object.keys(columns), "errors"];
  const rows = results.rows(scenario).map(({ server, runs, skipped }) => {
    if (skipped) return spared(server, skipped, head);
    const counted = runs.filter((run) => run.result !== null).length;
    const cells = Object.values(columns).map((key) => cell(figure(runs, key)));
    return [serverName(server), counted, ...cells, errors(runs)];
  });
  return table(head, rows);
}

/** Each figure to reach, and whether it is. */
export function figuresTable(results) {
  const answer = { true: "yes", false: "**no**", null: "not measured" };
  const rows = figuresToReach(results).map((found) => {
    const value = found.value ?? cell(found.spread, found.format);
    const remarks = (found.remarks ?? []).map((remark) => `, ${remark}`).join("");
    const notes = found.notes.length > 0 ? ` (${found.notes.join(", ")})` : "";
    const { there } = found;
    const scaled = there ? `${significant(there.value)} µs: ${answer[there.reached]}` : "";
    const reached = `${answer[found.reached]}${notes}`;
    return [found.what, found.wanted, `${value}${remarks}`, reached, scaled];
  });
  return table(["figure", "to reach", "measured", "reached", "at their machine's speed"], rows);
}

/** The row of a server that was not measured. */
function spared(server, reason, head) {
  return [serverName(server), "–", reason, ...Array(head.length - 3).fill("")];
}

function serverName(server) {
  return server.kind === "fanfare" ? `**${server.label}**` : server.label;
}

function errors(runs) {
  const words = faultsInWords(runs);
  return words === "0" ? words : `**${words}**`;
}

function middleOf(found, format) {
  return found === null ? "–" : format(found.median);
}

function greatest(found) {
  return found === null ? "–" : significant(found.max);
}

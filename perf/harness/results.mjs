// What was measured, as questions that tables, plots and figures ask.
import { GROUPS, scenarioNamed } from "./scenarios.mjs";
import { BARE, takesPart } from "./servers.mjs";
import { figure, ratio } from "./statistics.mjs";

export class Results {
  constructor({ records, campaign }) {
    if (records.length === 0) throw new Error("nothing was measured yet");
    for (const record of records) scenarioNamed(record.scenario);
    this.records = records;
    this.campaign = campaign;
  }

  /** All runs of a server in a scenario, the failed ones too. */
  runs(server, scenario) {
    return this.records.filter(
      (record) => record.server === server && record.scenario === scenario,
    );
  }

  /** Median and range of one of its figures; null when no run has it. */
  figure(server, scenario, key) {
    return figure(this.runs(server, scenario), key);
  }

  /** The same as a multiple of the bare send loop's in the same round. */
  ratioToBare(server, scenario, key) {
    return this.ratioTo(BARE, server, scenario, key);
  }

  /** The same as a multiple of another server's. */
  ratioTo(other, server, scenario, key) {
    return ratio(this.runs(server, scenario), this.runs(other, scenario), key);
  }

  /** The servers that a scenario compares. */
  servers(scenario) {
    const group = GROUPS.find(({ name }) => name === scenarioNamed(scenario).group);
    return this.campaign.servers.filter((server) => takesPart(server, group));
  }

  /**
   * A row for each of them: with its runs, or with the reason why it has none. Those to which a
   * scenario does not apply have none.
   */
  rows(scenario) {
    const rows = this.servers(scenario).map((server) => {
      const runs = this.runs(server.name, scenario);
      return { server, runs, skipped: runs.length > 0 ? null : whyNot(server, scenario) };
    });
    return rows.filter(({ skipped }) => !skipped?.startsWith("does not apply"));
  }

  /** Whether anything is known of it. */
  has(scenario) {
    return this.records.some((record) => record.scenario === scenario);
  }

  /** How many rounds the figures of these scenarios have: for each server and scenario a number. */
  roundCounts(scenarios) {
    const counts = new Map();
    for (const { scenario, server, result } of this.records) {
      if (!scenarios.includes(scenario) || result === null) continue;
      const key = `${scenario} ${server}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return [...counts.values()];
  }
}

/** The reason of a server that is not available at all is told once, not in every table. */
function whyNot(server, scenario) {
  if (server.unavailable) return "not available: see [Not measured](#not-measured)";
  return server.skipped[scenario] ?? "not measured";
}

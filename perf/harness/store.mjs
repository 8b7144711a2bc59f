// The raw data on disk: one line a run, written at once, so that nothing measured is ever lost.
import { appendFileSync, existsSync, mkdirSync, readFileSync, readdirSync } from "node:fs";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";

/** What was measured so far. */
export class Store {
  #folder;
  #records = [];
  #campaign = null;

  constructor(output) {
    this.#folder = join(output, "raw");
    if (existsSync(this.#folder)) this.#load();
  }

  get records() {
    return this.#records;
  }

  /** What all records have in common: machine, versions, servers, sessions. Null when empty. */
  get campaign() {
    return this.#campaign;
  }

  /** Begins, or notes what the next session adds. */
  saveCampaign(campaign) {
    mkdirSync(this.#folder, { recursive: true });
    this.#campaign = campaign;
    const path = this.#campaignPath();
    // Written beside and renamed: an interruption leaves the old file or the new one.
    writeFileSync(`${path}.new`, `${JSON.stringify(campaign, null, 2)}\n`);
    renameSync(`${path}.new`, path);
  }

  append(record) {
    this.#records.push(record);
    appendFileSync(this.#path(record.scenario), `${JSON.stringify(record)}\n`);
  }

  /**
   * Whether this run is there already, with whatever outcome: one that failed is a result, and is
   * not repeated until it succeeds.
   */
  has({ round, server }, { scenario, arguments: wanted }) {
    const found = this.#records.find(
      (record) =>
        record.round === round &&
        record.server === server.name &&
        record.scenario === scenario.name,
    );
    if (!found) return false;
    if (isDeepStrictEqual(found.arguments, wanted)) return true;
    throw new Error(
      `${scenario.name} of ${server.name} was measured with other arguments than it would be ` +
        `now; --fresh --scenarios ${scenario.name} measures it again for all servers`,
    );
  }

  /** Whether there is nothing but runs of these scenarios. */
  holdsOnly(scenarios) {
    const names = scenarios.map((scenario) => scenario.name);
    return this.#records.every((record) => names.includes(record.scenario));
  }

  /** Forgets the runs of these scenarios. */
  forget(scenarios) {
    const names = scenarios.map((scenario) => scenario.name);
    this.#records = this.#records.filter((record) => !names.includes(record.scenario));
    for (const name of names) rmSync(this.#path(name), { force: true });
  }

  /** Forgets everything. */
  clear() {
    rmSync(this.#folder, { recursive: true, force: true });
    this.#records = [];
    this.#campaign = null;
  }

  #load() {
    if (existsSync(this.#campaignPath())) {
      this.#campaign = JSON.parse(readFileSync(this.#campaignPath(), "utf8"));
    }
    const files = readdirSync(this.#folder).filter((file) => file.endsWith(".jsonl"));
    this.#records = files.toSorted().flatMap((file) => readLines(join(this.#folder, file)));
  }

  #campaignPath() {
    return join(this.#folder, "campaign.json");
  }

  #path(scenario) {
    return join(this.#folder, `${scenario}.jsonl`);
  }
}

/** Every line of a file. A last one that a crash cut off is dropped, from the file too. */
function readLines(path) {
  const text = readFileSync(path, "utf8");
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  if (whole.length < text.length) writeFileSync(path, whole);
  return whole
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

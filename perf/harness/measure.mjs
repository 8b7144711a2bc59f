// Measuring: one server at a time, one run of the load generator after the other, each recorded.
import { endChildren, run, withoutFolder } from "./children.mjs";
import { faultsInWords, judge } from "./judgement.mjs";
import { busyElsewhere, loadAverage } from "./machine.mjs";
import { lastLine, serve } from "./serving.mjs";
import { SOAKS } from "./soak.mjs";

/** How long nothing of ours runs before a server is started, to see whether something else does. */
const QUIET_MS = 250;

export class Measurement {
  #root;
  #store;
  #placement;
  #swarm;
  #say;
  #stopped = false;

  /** `swarm` is the command that starts the load generator, `placement` says on which cores. */
  constructor({ root, store, placement, swarm, say }) {
    this.#root = root;
    this.#store = store;
    this.#placement = placement;
    this.#swarm = swarm;
    this.#say = say;
  }

  get isStopped() {
    return this.#stopped;
  }

  /** Ends what runs now; what it was about to say is not recorded. */
  async stop() {
    this.#stopped = true;
    await endChildren();
  }

  /** Starts the server of a batch and makes its runs, unless told to stop. */
  async batch(batch) {
    const placement = this.#placement(batch);
    const quiet = await busyElsewhere(QUIET_MS);
    let serving = null;
    for (const planned of batch.runs) {
      if (this.#stopped) break;
      const began = { started: new Date().toISOString(), load_average: loadAverage(), quiet };
      let ran;
      try {
        if (!serving?.isAlive) serving = await serve(batch.server, placement.server, this.#root);
        ran = await this.#one(planned, serving, placement);
      } catch (error) {
        ran = { outcome: "failed", reason: error.message, result: null, commands: [] };
      }
      if (this.#stopped) break;
      this.#record(batch, planned, began, serving, ran);
    }
    const complaint = await serving?.stop();
    if (complaint && !this.#stopped) this.#say(`  note: ${complaint}`);
  }

  async #one(planned, serving, placement) {
    const load = (limit_s = planned.limit_s) => this.#load(planned, serving, placement, limit_s);
    const soak = SOAKS[planned.scenario.soak];
    const ran = await (soak ? soak(serving, load) : load());
    if (serving.isAlive) return ran;
    const reason = `the server ended: ${lastLine(serving.complaints)}`;
    return { ...ran, outcome: "failed", reason: withoutFolder(reason, this.#root), result: null };
  }

  async #load(planned, serving, placement, limit_s) {
    const connection = ["--target", serving.address, "--server-pid", `${serving.pid}`];
    const command = [
      ...placement.swarm,
      ...this.#swarm,
      ...planned.arguments,
      ...placement.options,
      ...connection,
      "--json",
      "-",
    ];
    const ended = await run(command, this.#root, limit_s);
    const result = parseResult(ended.output);
    const judged = judge({ ...ended, result, limit_s });
    if (judged.outcome === "failed") {
      const complaint = ended.error ?? lastLine(ended.errors);
      const words = complaint ? `${judged.reason}: ${complaint}` : judged.reason;
      judged.reason = withoutFolder(words, this.#root);
    }
    const { code, signal } = ended;
    return { ...judged, result, exit: signal ?? code, commands: [command.join(" ")] };
  }

  #record(batch, planned, began, serving, ran) {
    const record = {
      scenario: planned.scenario.name,
      server: batch.server.name,
      round: batch.round,
      started: began.started,
      load_average: began.load_average,
      busy_elsewhere: began.quiet.busy,
      stolen: began.quiet.stolen,
      arguments: planned.arguments,
      server_command: serving?.command.join(" ") ?? null,
      swarm_commands: ran.commands,
      exit: ran.exit ?? null,
      outcome: ran.outcome,
      reason: ran.reason,
      result: ran.result,
    };
    this.#store.append(record);
    const name = batch.server.name.padEnd(24);
    this.#say(`  ${name} ${record.scenario.padEnd(28)} ${inWords(record, planned.scenario)}`);
  }
}

/** The last line of the output that is an object; null when there is none. */
function parseResult(output) {
  const line = output.split("\n").findLast((text) => text.startsWith("{"));
  if (line === undefined) return null;
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

function inWords(record, scenario) {
  const { result } = record;
  const figures = [];
  if (result?.deliveries_per_s > 0) figures.push(`${Math.round(result.deliveries_per_s)}/s`);
  if (result?.server_cpu_us > 0) figures.push(`${result.server_cpu_us.toFixed(2)} us`);
  if (result?.rss_per_client_kib > 0 && (scenario.mode === "idle" || scenario.memory)) {
    figures.push(`${result.rss_per_client_kib.toFixed(2)} KiB per client`);
  }
  if (record.outcome !== "ok") figures.push(faultsInWords([record]));
  return figures.join("  ");
}

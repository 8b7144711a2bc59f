// What is asked over a longer time: does memory come back when everybody leaves, does it grow?
import { setTimeout as delay } from "node:timers/promises";
import { FAULTS } from "./judgement.mjs";
import { residentKib } from "./machine.mjs";

/** Of the memory before, once everybody has left, in so many seconds. */
export const LEAVE_FACTOR = 1.1;
export const LEAVE_LIMIT_S = 10;
const LOOK_AGAIN_MS = 100;
/** Memory that has not fallen for so long will not. */
const QUIET_MS = 2500;

/** Cycles over which memory must not grow; those to warm up with come before. */
export const CHURN_CYCLES = 100_000;
const WARM_UP_CYCLES = 10_000;
/** Runs of the load generator that these may take, so that a slow server comes to an end, too. */
const CHURN_RUNS_MAX = 100;

/** Per scenario: from a server and a way to load it, what came of it. */
export const SOAKS = { leave, churn };

/** Twice, so that what a second crowd needs on top shows, too. */
async function leave(serving, load) {
  const before_kib = residentKib(serving.pid);
  const series = new Series();
  const left = [];
  for (let time = 0; time < 2; time += 1) {
    if (!series.add(await load())) return series.failed();
    left.push(await afterLeaving(serving.pid, before_kib));
  }
  return series.done({
    clients: series.last.clients,
    rss_before_kib: before_kib,
    rss_with_clients_kib: series.last.rss_kib,
    rss_after_kib: Math.max(...left.map(({ kib }) => kib)),
    rss_after_over_before: Math.max(...left.map(({ kib }) => kib)) / before_kib,
    settled_s: Math.max(...left.map(({ seconds }) => seconds)),
  });
}

/** Resident memory as soon as it is low enough, or else what it is when the time is over. */
async function afterLeaving(pid, before_kib) {
  const began_ms = performance.now();
  for (;;) {
    const kib = residentKib(pid);
    const seconds = (performance.now() - began_ms) / 1000;
    if (kib <= before_kib * LEAVE_FACTOR || seconds >= LEAVE_LIMIT_S) return { kib, seconds };
    await delay(LOOK_AGAIN_MS);
  }
}

/**
 * Twice as many: what grows the first time only is no leak, and both are told. What was grown by for
 * clients that have just left is given the time to go.
 */
async function churn(serving, load, quiet_ms = QUIET_MS) {
  const series = new Series();
  const looks = [];
  for (const wanted of [WARM_UP_CYCLES, CHURN_CYCLES, CHURN_CYCLES]) {
    if (!(await cycles(wanted, series, load))) return series.failed();
    looks.push({ cycles: series.deliveries, kib: await settled(serving.pid, quiet_ms) });
  }
  const [warm, once, again] = looks;
  return series.done({
    cycles: once.cycles - warm.cycles,
    rss_warm_kib: warm.kib,
    rss_after_kib: once.kib,
    rss_growth_kib: once.kib - warm.kib,
    rss_growth_again_kib: again.kib - once.kib,
  });
}

/** Resident memory when it has not fallen for a while, or when the time is over. */
async function settled(pid, quiet_ms) {
  const began_ms = performance.now();
  let [least, fell_ms] = [residentKib(pid), began_ms];
  for (;;) {
    const now_ms = performance.now();
    const kib = residentKib(pid);
    if (kib < least) [least, fell_ms] = [kib, now_ms];
    if (now_ms - fell_ms >= quiet_ms || now_ms - began_ms >= LEAVE_LIMIT_S * 1000) return kib;
    await delay(LOOK_AGAIN_MS);
  }
}

async function cycles(wanted, series, load) {
  const target = series.deliveries + wanted;
  for (let count = 0; count < CHURN_RUNS_MAX; count += 1) {
    if (!series.add(await load())) return false;
    if (series.deliveries >= target) return true;
  }
  series.giveUp(`fewer than ${wanted} cycles in ${CHURN_RUNS_MAX} runs`);
  return false;
}

/** Runs that make one result together: all their faults count. */
class Series {
  #ran = [];
  #reason = null;

  /** Whether it may go on. */
  add(ran) {
    this.#ran.push(ran);
    return ran.outcome !== "failed";
  }

  get last() {
    return this.#ran.at(-1).result;
  }

  get deliveries() {
    return this.#sum("deliveries");
  }

  giveUp(reason) {
    this.#reason = reason;
  }

  failed() {
    const { reason, exit } = this.#ran.at(-1);
    const commands = this.#commands();
    return { outcome: "failed", reason: this.#reason ?? reason, exit, result: null, commands };
  }

  done(result) {
    const faults = Object.fromEntries(FAULTS.map((fault) => [fault, this.#sum(fault)]));
    const worst = this.#ran.find((ran) => ran.outcome !== "ok") ?? this.#ran.at(-1);
    const { outcome, reason, exit } = worst;
    return { outcome, reason, exit, result: { ...result, ...faults }, commands: this.#commands() };
  }

  #sum(key) {
    return this.#ran.reduce((total, ran) => total + (ran.result?.[key] ?? 0), 0);
  }

  #commands() {
    return [...new Set(this.#ran.flatMap((ran) => ran.commands))];
  }
}

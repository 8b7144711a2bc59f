// What a run of the load generator is worth, and how its faults are told.

import { whole } from "./format.mjs";

/** Counts of which any but zero is a fault of the server. */
export const FAULTS = ["lost", "repeated", "reordered", "damaged", "disconnected"];

/**
 * `ok`: nothing wrong. `faulty`: it measured, and something was lost, repeated, reordered, damaged
 * or disconnected. `failed`: there are no figures. An exit status that claims more than the counts
 * show, or less, does not make a run better than the worse of the two.
 */
export function judge({ code, signal, timedOut, result, limit_s }) {
  if (timedOut) return failed(`did not end within ${limit_s} s`);
  if (signal !== null) return failed(`ended by ${signal}`);
  if (code !== 0 && code !== 1) return failed(`exit status ${code}`);
  if (result === null) return failed(`exit status ${code} without a result`);
  const uncounted = FAULTS.filter((fault) => !Number.isInteger(result[fault]));
  if (uncounted.length > 0) return failed(`the result does not count ${uncounted.join(", ")}`);
  if (FAULTS.some((fault) => result[fault] > 0)) return { outcome: "faulty", reason: null };
  if (code === 1) return { outcome: "faulty", reason: "exit status 1, yet no fault is counted" };
  if (result.mode !== "idle" && !(result.deliveries > 0)) return failed("nothing was delivered");
  return { outcome: "ok", reason: null };
}

function failed(reason) {
  return { outcome: "failed", reason };
}

/** How often each fault was counted in all these runs together. */
export function faultCounts(runs) {
  const counts = {};
  for (const fault of FAULTS) {
    const sum = runs.reduce((total, run) => total + (run.result?.[fault] ?? 0), 0);
    if (sum > 0) counts[fault] = sum;
  }
  return counts;
}

/** All that went wrong in these runs, in words; "0" when nothing did. */
export function faultsInWords(runs) {
  const words = Object.entries(faultCounts(runs)).map(
    ([fault, count]) => `${fault} ${whole(count)}`,
  );
  const faulty = runs.filter((run) => run.outcome === "faulty");
  const failures = runs.filter((run) => run.outcome === "failed");
  const others = new Set(faulty.map((run) => run.reason).filter((reason) => reason !== null));
  words.push(...others);
  if (faulty.length > 0) words.push(`in ${faulty.length} of ${ofRuns(runs.length)}`);
  if (failures.length > 0) {
    const reasons = [...new Set(failures.map((run) => run.reason))].join("; ");
    words.push(`${failures.length} of ${ofRuns(runs.length)} failed: ${reasons}`);
  }
  return words.length > 0 ? words.join(", ") : "0";
}

function ofRuns(count) {
  return count === 1 ? "1 run" : `${count} runs`;
}

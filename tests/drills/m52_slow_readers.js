// A tenth of 10,000 clients stops reading while events are broadcast: what the others see, and what
// the server holds, against the same without them. Runs of either kind by turns, medians.
import assert from "node:assert/strict";
import { broadcast, lacking, median } from "./support/crowd.js";

const FAST = 9_000;
const SLOW = 1_000;
const EVENTS_PER_SECOND = 10;
const PAYLOAD_BYTES = 1_024;
/** The kernel takes some for them; ten seconds after that, all who take nothing are let go. */
const SECONDS = 30;
const ROUNDS = 3;
const OPTIONS = ["--clients", FAST, "--rate", EVENTS_PER_SECOND, "--payload", PAYLOAD_BYTES, "--seconds", SECONDS, "--sleep"];

export default {
  name: "m52 a thousand clients that stop reading cost the others nothing",
  rows: [51, 52],
  seconds: 2 * ROUNDS * (SECONDS + 40),
  needs: lacking,

  async run(drill) {
    const runs = { without: [], with: [] };
    for (let round = 0; round < ROUNDS; round++) {
      runs.without.push(await broadcast(drill, OPTIONS, { count: 0 }));
      runs.with.push(await broadcast(drill, OPTIONS, { count: SLOW, tell: "count" }));
    }
    const [alone, beside] = [runs.without, runs.with].map((all) => ({
      p99: median(all.map((run) => run.delivery_p99_ms)),
      peak: median(all.map((run) => run.rss_peak_kib)),
    }));
    const gone = runs.with.map((run) => run.answer);
    assert.ok(gone.every((count) => count === SLOW), `let go: ${gone} of ${SLOW}`);
    const told =
      `p99 of a delivery to ${FAST} others ${beside.p99.toFixed(1)} ms, without them ` +
      `${alone.p99.toFixed(1)} ms; resident at most ${mib(beside.peak)} MiB and ` +
      `${mib(alone.peak)} MiB; all ${SLOW} were let go`;
    assert.ok(beside.p99 <= 2 * alone.p99, told);
    // What waits for them is the same for all: some events, and a place for each in each queue.
    const events = SECONDS * EVENTS_PER_SECOND;
    const held = events * PAYLOAD_BYTES + SLOW * (events * 16 + 4_096);
    assert.ok(beside.peak - alone.peak <= held / 1_024, told);
    return told;
  },
};

function mib(kib) {
  return (kib / 1_024).toFixed(0);
}

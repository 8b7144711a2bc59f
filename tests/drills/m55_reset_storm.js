// Half of a room resets its connections while events are broadcast to it: the others get every event
// once, in order, and the server goes on.
import assert from "node:assert/strict";
import { broadcast, lacking } from "./support/crowd.js";

const STAYING = 2_000;
const LEAVING = 2_000;
const OPTIONS = ["--clients", STAYING, "--rate", 50, "--payload", 256, "--seconds", 8, "--sleep"];

export default {
  name: "m55 half of a room resets its connections and the rest misses nothing",
  rows: [55],
  seconds: 90,
  needs: lacking,

  async run(drill) {
    const options = { count: LEAVING, tell: "reset", afterMs: 4_000 };
    const result = await broadcast(drill, OPTIONS, options);
    assert.equal(result.answer, LEAVING);
    const faults = ["lost", "repeated", "reordered", "damaged", "disconnected"];
    assert.deepEqual(faults.map((fault) => result[fault]), [0, 0, 0, 0, 0]);
    return `${LEAVING} connections reset within a broadcast of ${result.deliveries} deliveries to ${STAYING} others: none lost, repeated or reordered`;
  },
};

// One client that sends events without an end, as fast as they are taken, by WebSocket and by polling,
// beside others whose events are answered.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { DRILL_SECONDS, NUISANCE_SECONDS, lacking, measureBeside } from "./support/nuisance.js";

const GREEDY = [
  { how: "by WebSocket", least: 500_000, command: ["stalled.py", "PORT", 1] },
  { how: "by polling, in bodies of 10,000", least: 50_000, command: ["posts.py", "PORT"] },
];

export default {
  name: "m19 a client that sends without an end has a share of a turn and no more",
  rows: [19],
  seconds: GREEDY.length * DRILL_SECONDS,
  needs: lacking,

  async run(drill) {
    const seen = [];
    for (const greedy of GREEDY) seen.push(await beside(drill, greedy));
    return seen.join("; ");
  },
};

function beside(drill, { how, least, command: [script, ...rest] }) {
  const program = fileURLToPath(new URL(`support/${script}`, import.meta.url));
  return measureBeside(drill, { things: `events a second of one ${how}`, least }, async (port, start) => {
    const greedy = start("python3", program, ...rest.map((word) => (word === "PORT" ? port : word)));
    assert.equal(await greedy.hear(), "ready");
    return {
      async begin() {
        greedy.say(`flood ${NUISANCE_SECONDS}`);
        await sleep(200);
      },
      end: async () => Number(await greedy.hear()),
    };
  });
}

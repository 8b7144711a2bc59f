// One client that sends events without an end, as fast as they are taken, beside others whose events
// are answered.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { DRILL_SECONDS, NUISANCE_SECONDS, lacking, measureBeside } from "./support/nuisance.js";

const stalled = fileURLToPath(new URL("support/stalled.py", import.meta.url));

export default {
  name: "m19 a client that sends without an end has a share of a turn and no more",
  rows: [19],
  seconds: DRILL_SECONDS,
  needs: lacking,

  run(drill) {
    return measureBeside(drill, "events a second of one", async (port, start) => {
      const greedy = start("python3", stalled, port, 1);
      assert.equal(await greedy.hear(), "ready");
      return {
        async begin() {
          greedy.say(`flood ${NUISANCE_SECONDS}`);
          await sleep(200);
        },
        end: async () => Number(await greedy.hear()),
      };
    });
  },
};

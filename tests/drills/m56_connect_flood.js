// Connections that say nothing and are reset, as many as come of asking for twenty thousand a second,
// beside clients whose events are answered.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { DRILL_SECONDS, lacking, measureBeside } from "./support/nuisance.js";

const PER_SECOND = 20_000;
const LEAST = 5_000;
const flood = fileURLToPath(new URL("support/flood.py", import.meta.url));

export default {
  name: "m56 a flood of connections does not keep events of others waiting",
  rows: [56],
  seconds: DRILL_SECONDS,
  needs: lacking,

  run(drill) {
    return measureBeside(drill, { things: "connections a second", least: LEAST }, (port, start) => {
      let connections;
      return {
        async begin() {
          connections = start("python3", flood, port, PER_SECOND);
          assert.equal(await connections.hear(), "begun");
        },
        async end() {
          connections.say("end");
          const [made, seconds] = (await connections.hear()).split(" ").map(Number);
          return made / seconds;
        },
      };
    });
  },
};

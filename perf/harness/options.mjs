// The command line of the report.
import { parseArgs } from "node:util";
import { ROUNDS_FOR_A_MEDIAN } from "./statistics.mjs";

export const USAGE = `node perf/report.mjs [options]      (or: make report REPORT="[options]")

Measures fanfare, its peers and bare loops in interleaved rounds, and writes perf/report.
Continues where it was interrupted, as long as what is measured has not changed.

  --rounds N       rounds in all (${ROUNDS_FOR_A_MEDIAN})
  --servers a,b    only these: names, or one of the families fanfare, peers, limit
  --scenarios a,b  only these: names of scenarios or of their groups
  --seconds S      measured time of a run (3)
  --seed N         what the order of the servers in each round is drawn from (1); what was begun
                   with one goes on with it
  --quick          for trying: one short round, from the beginning, into target/report
  --fresh          forget what was measured: everything, or only the scenarios that are named
  --render         measure nothing, only draw from what was measured
  --no-build       take what is built and installed
  --output FOLDER  where to write (perf/report)
  --list           what can be measured`;

const FLAGS = ["quick", "fresh", "render", "no-build", "list", "help"];
const VALUES = ["rounds", "servers", "scenarios", "seconds", "seed", "output"];

/** The options in these arguments, checked. */
export function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: Object.fromEntries([
      ...FLAGS.map((name) => [name, { type: "boolean", default: false }]),
      ...VALUES.map((name) => [name, { type: "string" }]),
    ]),
  });
  const { quick } = values;
  // It begins by forgetting everything that is there.
  if (quick && values.output) throw new Error("--quick writes into target/report only");
  const seconds = positive("seconds", values.seconds ?? (quick ? "0.3" : "3"));
  return {
    ...values,
    build: !values["no-build"],
    fresh: values.fresh || quick,
    rounds: whole("rounds", values.rounds ?? (quick ? 1 : ROUNDS_FOR_A_MEDIAN)),
    servers: names(values.servers),
    scenarios: names(values.scenarios),
    timing: { seconds, warmup: quick ? 0.1 : 0.5 },
    seed: whole("seed", values.seed ?? 1),
    output: values.output ?? (quick ? "target/report" : "perf/report"),
  };
}

function names(list) {
  return list === undefined ? null : list.split(",").filter(Boolean);
}

function whole(name, text) {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) throw new Error(`--${name} takes a whole number`);
  return number;
}

function positive(name, text) {
  const number = Number(text);
  if (!(number > 0)) throw new Error(`--${name} takes a number above 0`);
  return number;
}

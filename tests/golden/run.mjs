// Performs probes and prints the answers, as README.md says:
//
//   node tests/golden/run.mjs http://127.0.0.1:3000 [NAME...]   of a server that runs
//   node tests/golden/run.mjs --record                         of the reference: expected.json
import { writeFileSync } from "node:fs";
import { perform } from "./perform.mjs";
import { probes } from "./probes.mjs";
import { answersOf, reference, versions } from "./servers.mjs";

const [origin, ...names] = process.argv.slice(2);

if (origin === "--record") {
  const answers = await answersOf(reference);
  // In the order of the probes, so that a change of one is a change of its line.
  const ordered = Object.fromEntries(probes.map(({ name }) => [name, answers[name]]));
  const text = JSON.stringify({ versions: versions(), answers: ordered }, null, 2);
  writeFileSync(new URL("expected.json", import.meta.url), `${text}\n`);
} else if (URL.canParse(origin ?? "")) {
  const isMeant = ({ name, server }) =>
    names.length === 0 ? server === undefined : names.includes(name);
  const answers = await perform(origin, probes.filter(isMeant));
  console.log(JSON.stringify(answers, null, 2));
} else {
  console.error("usage: node run.mjs ORIGIN [NAME...] | --record");
  process.exit(2);
}

// Runs the drills, one after the other: `node tests/drills/run.js [name...]`, where a name is the
// beginning of a file's. What was seen goes into results.md.
//
// A drill is a file of this folder that exports as its default
//   name      what it shows, which begins with its row: `m05_…`
//   rows      the rows of the abuse matrix that it is about
//   seconds   the time that it may take
//   needs()   what this machine lacks for it, in words; null if nothing
//   run(drill)  throws, or gives what was seen, in a line
// and is run with
//   drill.start(example, ...flags)  a server, as tests/clients/server.js has it, ended with the drill
//   drill.prefix                    what is put before the command of a server: a program that runs it
//   drill.folder                    an empty folder, removed with the drill
//   drill.after(work)               something that is to be done when it has ended, last come first
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startCommand } from "../clients/server.js";

const here = new URL(".", import.meta.url);
const examples = fileURLToPath(new URL("../../target/release/examples/", here));
const RESULTS = new URL("results.md", here);
const TITLE = `# What the drills have seen last

Written by \`make drills\`. A drill that was not run has kept its line.

| drill | rows | result | seen | when, where |
|---|---|---|---|---|
`;

class Drill {
  folder = mkdtempSync(join(tmpdir(), "fanfare-drill-"));
  prefix = [];
  #afterwards = [() => rmSync(this.folder, { recursive: true })];

  after(work) {
    this.#afterwards.unshift(work);
  }

  async start(example, ...flags) {
    const server = await startCommand([...this.prefix, join(examples, example)], ...flags);
    this.after(() => server.stop());
    return server;
  }

  async end() {
    for (const work of this.#afterwards) await work();
  }
}

/** What a drill has seen; an error if it fails, or does not end in time. */
async function carryOut({ seconds, run }) {
  const drill = new Drill();
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([run(drill), late]);
  } finally {
    clearTimeout(timer);
    await drill.end();
  }
}

/** The lines of the drills that were run before, by name. */
function earlier() {
  try {
    const lines = readFileSync(RESULTS, "utf8").split("\n").filter((line) => line.startsWith("| m"));
    return new Map(lines.map((line) => [line.split("|")[1].trim(), line]));
  } catch {
    return new Map();
  }
}

function record(lines) {
  const sorted = [...lines].sort(([a], [b]) => (a < b ? -1 : 1));
  writeFileSync(RESULTS, TITLE + sorted.map(([, line]) => `${line}\n`).join(""));
}

const named = process.argv.slice(2);
const files = readdirSync(here).filter((file) => /^m\d+_.*\.js$/.test(file));
const wanted = files.filter((file) => named.length === 0 || named.some((name) => file.startsWith(name)));
const lines = earlier();
let failed = wanted.length === 0;
if (failed) console.log(`no drill begins with ${named.join(" or ")}`);
for (const file of wanted.sort()) {
  const { default: drill } = await import(new URL(file, here));
  const lacking = drill.needs();
  if (lacking) {
    console.log(`skipped ${drill.name}: ${lacking}`);
    continue;
  }
  const [result, seen] = await carryOut(drill).then(
    (seen) => ["passed", seen],
    (error) => ["**failed**", error.message],
  );
  failed ||= result !== "passed";
  console.log(`${result.replaceAll("*", "")} ${drill.name}: ${seen}`);
  const cell = seen.split("\n")[0].replaceAll("|", "/");
  const [kernel] = /^\d+\.\d+/.exec(release());
  const when = `${new Date().toISOString().slice(0, 10)}, Linux ${kernel}`;
  lines.set(drill.name, `| ${drill.name} | ${drill.rows.join(", ")} | ${result} | ${cell} | ${when} |`);
}
record(lines);
process.exit(failed ? 1 : 0);

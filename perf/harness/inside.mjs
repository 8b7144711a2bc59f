// What is measured without a load generator: what idle clients take of the heap, by the million and
// without sockets, and how long a sleeping shard takes to answer another thread.
import { spawnSync } from "node:child_process";

const LIMIT_MS = 600_000;

/** The lines of JSON that the benches print. */
export function measureInside(root) {
  return { sessions: bench(root, "sessions"), hop: bench(root, "hop") };
}

function bench(root, name) {
  const run = spawnSync("cargo", ["bench", "--quiet", "--package", "fanfare", "--bench", name], {
    cwd: root,
    encoding: "utf8",
    timeout: LIMIT_MS,
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (run.status !== 0) throw new Error(`cargo bench --bench ${name} ended with ${run.status}`);
  return linesOfJson(run.stdout);
}

/** Those lines of a text that are objects. */
export function linesOfJson(text) {
  const lines = text.split("\n").filter((line) => line.startsWith("{"));
  return lines.map((line) => JSON.parse(line));
}

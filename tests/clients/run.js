// Runs every test file, once with one shard and once with two: `node run.js [file...]`.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const named = process.argv.slice(2);
const all = readdirSync(here).filter((file) => file.endsWith(".test.js"));
// The working directory stays the caller's: FANFARE_SERVER may be a path relative to it.
const files = named.length > 0 ? named : all.map((file) => join(here, file));

// Timings are part of what is tested: the files do not compete with each other.
const args = ["--test", "--test-concurrency=1", "--test-reporter=dot", ...files];
let failed = false;
// The reference has no shards, so a second round would only repeat the first.
const rounds = process.env.FANFARE_SERVER === "reference" ? ["1"] : ["1", "2"];
for (const shards of rounds) {
  console.log(`--shards ${shards}`);
  const env = { ...process.env, FANFARE_SHARDS: shards };
  const { status } = spawnSync(process.execPath, args, { env, stdio: "inherit" });
  failed ||= status !== 0;
}
process.exit(failed ? 1 : 0);

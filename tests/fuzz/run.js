// Runs every fuzz target for a while: `node tests/fuzz/run.js [target...]`, all of them together
// EXECUTIONS times (10 million), each for SECONDS at most (600). What was seen goes into results.md;
// an input that a door does not hold against lies in artifacts/ and ends the run with an error.
//
// Needs a C++ compiler, for libFuzzer, and no other tool: the flags are those of cargo-fuzz, without
// a sanitizer, since nothing that is fuzzed has `unsafe`.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const RESULTS = join(here, "results.md");
const EXECUTIONS = Number(process.env.EXECUTIONS ?? 10_000_000);
const SECONDS = Number(process.env.SECONDS ?? 600);
const TITLE = `# What fuzzing has seen last

Written by \`make fuzz\`. A target that was not run has kept its line.

| target | executions | seconds | finding | when |
|---|---|---|---|---|
`;
const FLAGS = [
  "--cfg=fuzzing",
  "-Cpasses=sancov-module",
  "-Cllvm-args=-sanitizer-coverage-level=4",
  "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
  "-Cllvm-args=-sanitizer-coverage-pc-table",
  "-Cllvm-args=-sanitizer-coverage-trace-compares",
  "-Cdebug-assertions",
  "-Ccodegen-units=1",
];

const all = readdirSync(join(here, "fuzz_targets")).map((file) => file.replace(/\.rs$/, ""));
const asked = process.argv.slice(2);
const targets = asked.length > 0 ? asked : all;

/** Builds the targets; gives the folder that they are in. Flags are for a named platform alone, so
 * that build scripts are without them. */
function build() {
  const platform = /^host: (.*)$/m.exec(execFileSync("rustc", ["-vV"], { encoding: "utf8" }))[1];
  const manifest = join(here, "Cargo.toml");
  const bins = targets.flatMap((target) => ["--bin", target]);
  const flags = ["build", "--release", "--target", platform, "--manifest-path", manifest, ...bins];
  const env = { ...process.env, RUSTFLAGS: FLAGS.join(" ") };
  execFileSync("cargo", flags, { stdio: "inherit", env });
  return join(here, "target", platform, "release");
}

/** Runs one target; gives its line, and whether the door has held. */
function fuzz(folder, target, runs) {
  const [artifacts, corpus] = [join(here, "artifacts", target), mkdtempSync(join(tmpdir(), "fuzz-"))];
  mkdirSync(artifacts, { recursive: true });
  // What is found on the way is kept in the first folder; the corpus of the repository stays as it is.
  const { stderr, status } = spawnSync(
    join(folder, target),
    [corpus, join(here, "corpus", target), `-runs=${runs}`, `-max_total_time=${SECONDS}`,
      "-max_len=4096", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1",
      `-artifact_prefix=${artifacts}/`],
    { encoding: "utf8", maxBuffer: 1 << 28 },
  );
  rmSync(corpus, { recursive: true });
  const done = /^Done (\d+) runs in (\d+) second/m.exec(stderr);
  const count = done?.[1] ?? /number_of_executed_units:\s*(\d+)/.exec(stderr)?.[1] ?? "?";
  const held = status === 0 && done !== null;
  if (!held) process.stderr.write(stderr.slice(-4000));
  const finding = held ? "none" : (/Test unit written to .*\/(\S+)/.exec(stderr)?.[1] ?? "ended early");
  const day = new Date().toISOString().slice(0, 10);
  return { held, count, line: `| ${target} | ${count} | ${done?.[2] ?? "?"} | ${finding} | ${day} |` };
}

function earlier() {
  if (!existsSync(RESULTS)) return new Map();
  const lines = readFileSync(RESULTS, "utf8").split("\n");
  const rows = lines.map((line) => [/^\| (\w+) \| [\d?]/.exec(line)?.[1], line]);
  return new Map(rows.filter(([target]) => all.includes(target)));
}

const folder = build();
const lines = earlier();
let [total, failed] = [0, 0];
for (const target of targets) {
  const { held, count, line } = fuzz(folder, target, Math.ceil(EXECUTIONS / targets.length));
  console.log(line);
  lines.set(target, line);
  total += Number(count) || 0;
  failed += held ? 0 : 1;
  writeFileSync(RESULTS, TITLE + all.filter((name) => lines.has(name)).map((name) => `${lines.get(name)}\n`).join(""));
}
console.log(`${total} executions of ${targets.length} targets, ${failed} findings`);
process.exit(failed > 0 ? 1 : 0);

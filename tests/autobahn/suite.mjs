// Installs and runs the fuzzing client of Autobahn|Testsuite, which is written for Python 2.7.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, openSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const requirements = join(here, "requirements.txt");
/** Where pip puts the packages of a user, instead of into the home of whoever runs this. */
const packages = join(here, ".python");
const installed = join(packages, "installed.txt");
const reports = fileURLToPath(new URL("../../target/autobahn/", import.meta.url));

/** A Python 2.7 of this machine: AUTOBAHN_PYTHON, one of pyenv, or one on the PATH. */
export function findPython() {
  const versions = join(process.env.PYENV_ROOT ?? join(homedir(), ".pyenv"), "versions");
  const ofPyenv = existsSync(versions) ? readdirSync(versions) : [];
  const candidates = [
    process.env.AUTOBAHN_PYTHON,
    ...ofPyenv.filter((name) => name.startsWith("2.7")).map((name) => join(versions, name, "bin/python2.7")),
    "python2.7",
  ];
  // pyenv puts a python2.7 on the PATH that only says that there is none.
  const runs = (python) => spawnSync(python, ["-c", "import sys; assert sys.version_info[:2] == (2, 7)"]).status === 0;
  return candidates.filter(Boolean).find(runs);
}

/** Installs the suite, unless it is there. */
export function install(python) {
  const wanted = readFileSync(requirements, "utf8");
  if (existsSync(installed) && readFileSync(installed, "utf8") === wanted) {
    return;
  }
  const flags = "--quiet --disable-pip-version-check --no-warn-script-location --user --ignore-installed --no-deps";
  const command = ["-m", "pip", "install", ...flags.split(" "), "--require-hashes", "--requirement", requirements];
  const { status, stderr } = spawnSync(python, command, { env: environment(), encoding: "utf8" });
  if (status !== 0) {
    throw new Error(`Autobahn could not be installed: ${stderr}`);
  }
  writeFileSync(installed, wanted);
}

/** Runs cases, such as `7.*`, against a server; gives what became of each. */
export async function run(python, agent, url, cases) {
  const outdir = join(reports, agent);
  mkdirSync(outdir, { recursive: true });
  const specification = join(outdir, "specification.json");
  const servers = [{ agent, url }];
  const unused = { "exclude-cases": [], "exclude-agent-cases": {} };
  writeFileSync(specification, JSON.stringify({ outdir, servers, cases, ...unused }));
  const log = join(outdir, "wstest.log");
  const output = openSync(log, "w");
  const start = "from autobahntestsuite.wstest import run; run()";
  const args = ["-c", start, "--mode", "fuzzingclient", "--spec", specification];
  const child = spawn(python, args, { env: environment(), stdio: ["ignore", output, output] });
  const [status] = await once(child, "exit");
  if (status !== 0) {
    throw new Error(`Autobahn has failed itself: see ${log}`);
  }
  const index = JSON.parse(readFileSync(join(outdir, "index.json"), "utf8"));
  return Object.entries(index[agent]).map(([name, { behavior, behaviorClose, reportfile }]) => {
    return { name, behavior, behaviorClose, report: join(outdir, reportfile) };
  });
}

function environment() {
  return { ...process.env, PYTHONUSERBASE: packages };
}

// What peers.json says of the peers, and what is installed of them: the questions of ./run.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));

/** All peers, in the order of peers.json. */
export function peers() {
  return JSON.parse(readFileSync(join(here, "peers.json"), "utf8"));
}

/** The peer of a name, which can be run; throws a reason for people if there is none such. */
export function peer(name) {
  const found = peers().find((entry) => entry.name === name);
  if (!found) {
    throw new Error(`there is no peer ${name}: see --list`);
  }
  if (found.unavailable) {
    throw new Error(`${name} is not available: ${found.unavailable}`);
  }
  return found;
}

/** The names that `names` stand for: `all` is every peer that can be run. */
export function named(names) {
  if (names.length === 0) {
    throw new Error("name the peers, or say all");
  }
  const available = peers().filter((entry) => !entry.unavailable);
  return names.flatMap((name) => (name === "all" ? available : [peer(name)]));
}

/** Versions of a peer's packages and of what runs it, as they are installed. */
export function versions(name) {
  const { runtime, packages } = peer(name);
  return { ...RUNTIME_VERSION[runtime](), ...PACKAGE_VERSIONS[runtime](packages) };
}

const RUNTIME_VERSION = {
  node: () => ({ node: process.versions.node }),
  bun: () => npmVersions(["bun"]),
  python: () => ({ python: output(join(here, "python/.venv/bin/python"), "--version") }),
  rust: () => ({ rustc: output("rustc", "--version") }),
};

const PACKAGE_VERSIONS = {
  node: npmVersions,
  bun: npmVersions,
  python: pythonVersions,
  rust: lockedVersions,
};

/** A peer as --list shows it. */
function line({ name, protocol, description, unavailable }) {
  const about = unavailable ? `${description} (not available)` : description;
  return `${name.padEnd(17)} ${protocol.padEnd(9)} ${about}`;
}

/** The version number in what a program says of itself. */
function output(program, ...args) {
  return /\d+\.\d+\.\d+/.exec(execFileSync(program, args, { cwd: here, encoding: "utf8" }))[0];
}

// `a>b` is the b that a uses: npm may have put another beside it.
function npmVersions(paths) {
  const found = paths.map((path) => {
    const folder = path.split(">").reduce(npmFolder, join(here, "node"));
    const { name, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    return [name, version];
  });
  return Object.fromEntries(found);
}

/** Where Node.js finds the package `name` from within `folder`. */
function npmFolder(folder, name) {
  const candidate = join(folder, "node_modules", name);
  if (existsSync(candidate)) {
    return realpathSync(candidate);
  }
  if (folder === here || folder === dirname(folder)) {
    throw new Error(`${name} is not installed`);
  }
  return npmFolder(dirname(folder), name);
}

function pythonVersions(names) {
  const script = `
import importlib.metadata, json, sys
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))`;
  const python = join(here, "python/.venv/bin/python");
  return JSON.parse(execFileSync(python, ["-c", script, ...names], { encoding: "utf8" }));
}

// A build with --locked uses what Cargo.lock says, or fails.
function lockedVersions(names) {
  const lock = readFileSync(join(here, "rust/Cargo.lock"), "utf8");
  const found = names.map((name) => {
    const entry = new RegExp(`^name = "${name}"\nversion = "(.+)"$`, "m").exec(lock);
    if (!entry) {
      throw new Error(`${name} is not in Cargo.lock`);
    }
    return [name, entry[1]];
  });
  return Object.fromEntries(found);
}

const QUESTIONS = {
  list: () => peers().map(line),
  program: ([name]) => [`${peer(name).runtime} ${peer(name).program}`],
  runtimes: (names) => new Set(named(names).map(({ runtime }) => runtime)),
  versions: ([name]) => [JSON.stringify(versions(name))],
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [question, ...names] = process.argv.slice(2);
  try {
    for (const line of QUESTIONS[question](names)) {
      console.log(line);
    }
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}

// Builds everything that is measured, and asks each part for its version.
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { withoutFolder } from "./children.mjs";
import { lastLine } from "./serving.mjs";

const BUILDS = [
  ["cargo", "build", "--release", "--example", "benchmark"],
  ["cargo", "build", "--release", "-p", "swarm"],
  ["cargo", "build", "--release", "--manifest-path", "perf/limit/Cargo.toml"],
];
const PEER_LIMIT_MS = 30 * 60 * 1000;

/** Builds fanfare, the load generator and the bare loops; throws when one does not build. */
export function build(root) {
  for (const command of BUILDS) {
    const [program, ...args] = command;
    const { status } = spawnSync(program, args, { cwd: root, stdio: "inherit" });
    if (status !== 0) throw new Error(`${command.join(" ")} failed`);
  }
}

/**
 * Installs the peers among these servers, if asked to, and asks each for its versions. One with
 * which that fails is not left out: it becomes unavailable, and the tables show why.
 */
export function preparePeers(root, servers, { installing, say }) {
  const versions = {};
  const prepared = servers.map((server) => {
    if (server.family !== "peers" || server.unavailable) return server;
    if (installing) say(`installing ${server.name}`);
    try {
      if (installing) peer(root, "--install", server.name);
      versions[server.name] = JSON.parse(peer(root, "--versions", server.name));
      return server;
    } catch (error) {
      say(`  ${server.name}: ${error.message}`);
      return { ...server, unavailable: error.message };
    }
  });
  return { servers: prepared, versions };
}

/** What `perf/peers/run` prints; throws with what it complained about when it fails. */
function peer(root, flag, name) {
  const options = { cwd: root, encoding: "utf8", timeout: PEER_LIMIT_MS };
  const { status, stdout, stderr, error } = spawnSync("perf/peers/run", [flag, name], options);
  if (status === 0) return stdout;
  const complaint = error?.message ?? firstError(stderr);
  throw new Error(withoutFolder(`perf/peers/run ${flag} failed: ${complaint}`, root));
}

/** What installers say first is the cause; what they say last is where they logged it. */
function firstError(text) {
  return text.split("\n").find((line) => /error/i.test(line)) ?? lastLine(text);
}

/** The first line that a tool prints about its version. */
export function toolVersion(root, program) {
  return execFileSync(program, ["--version"], { cwd: root, encoding: "utf8" }).split("\n")[0];
}

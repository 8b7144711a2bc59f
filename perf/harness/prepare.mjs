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
const INSTALL_LIMIT_MS = 30 * 60 * 1000;
const VERSIONS_LIMIT_MS = 60 * 1000;

/** Builds fanfare, the load generator and the bare loops; throws when one does not build. */
export function build(root) {
  for (const command of BUILDS) {
    const [program, ...args] = command;
    const { status } = spawnSync(program, args, { cwd: root, stdio: "inherit" });
    if (status !== 0) throw new Error(`${command.join(" ")} failed`);
  }
}

/**
 * The servers, where a peer that could not be installed says why, in place of being left out: the
 * tables show it.
 */
export function install(root, servers, say) {
  return servers.map((server) => {
    if (server.family !== "peers" || server.unavailable) return server;
    say(`installing ${server.name}`);
    const unavailable = installOne(root, server.name);
    if (unavailable) say(`  ${unavailable}`);
    return unavailable ? { ...server, unavailable } : server;
  });
}

function installOne(root, name) {
  const options = { cwd: root, encoding: "utf8", timeout: INSTALL_LIMIT_MS };
  const { status, stderr, error } = spawnSync("perf/peers/run", ["--install", name], options);
  if (status === 0) return null;
  const complaint = error?.message ?? lastLine(stderr);
  return withoutFolder(`could not be installed: ${complaint}`, root);
}

/** What each peer runs on: names to versions. Of one that is unavailable, nothing. */
export function versionsOf(root, servers) {
  const peers = servers.filter(({ family, unavailable }) => family === "peers" && !unavailable);
  return Object.fromEntries(
    peers.map(({ name }) => {
      const options = { cwd: root, encoding: "utf8", timeout: VERSIONS_LIMIT_MS };
      const printed = execFileSync(join(root, "perf/peers/run"), ["--versions", name], options);
      return [name, JSON.parse(printed)];
    }),
  );
}

/** The first line that a tool prints about its version. */
export function toolVersion(root, program) {
  return execFileSync(program, ["--version"], { cwd: root, encoding: "utf8" }).split("\n")[0];
}

// What the figures are figures of: as long as it is the same, measuring may continue.
import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The files that decide what each part does when it is measured. */
const PARTS = {
  fanfare: ["src", "Cargo.toml", "Cargo.lock", "examples"],
  swarm: ["loadtest"],
  limit: ["perf/limit"],
  peers: ["perf/peers"],
};

/** Commit and content of each part; a change that is not committed yet changes the content. */
export function sourceIdentity(root) {
  return Object.fromEntries(
    Object.entries(PARTS).map(([part, paths]) => [part, partIdentity(root, paths)]),
  );
}

function partIdentity(root, paths) {
  const listed = git(root, "ls-files", "-z", "-c", "-o", "--exclude-standard", "--", ...paths);
  const files = listed.split("\0").filter((file) => file && !file.endsWith(".md"));
  const hash = createHash("sha256");
  for (const file of files.toSorted()) {
    hash
      .update(`${file}\0`)
      .update(content(join(root, file)))
      .update("\0");
  }
  const changed = git(root, "status", "--porcelain", "--", ...paths) !== "";
  return {
    commit: git(root, "log", "-1", "--format=%h", "--", ...paths) || null,
    changed,
    content: hash.digest("hex").slice(0, 16),
  };
}

/** A file that git lists and that is deleted in the working tree has none. */
function content(path) {
  try {
    return readFileSync(path);
  } catch {
    return "";
  }
}

function git(root, ...args) {
  const options = { cwd: root, encoding: "utf8", maxBuffer: 1 << 26, stdio: ["ignore", "pipe", 2] };
  return execFileSync("git", args, options).replace(/\n$/, "");
}

/** What differs between two identities, in words; null when measuring may go on. */
export function difference(before, now) {
  const found = [];
  for (const part of Object.keys(PARTS)) {
    const [old, recent] = [before.source[part], now.source[part]];
    if (old.content !== recent.content) {
      found.push(`${part} is not what it was at ${old.commit ?? "the start"}`);
    }
  }
  for (const what of ["cpu", "kernel", "rust", "node", "timing"]) {
    const [old, recent] = [JSON.stringify(before[what]), JSON.stringify(now[what])];
    if (old !== recent) found.push(`${what} was ${old} and is ${recent}`);
  }
  for (const name of Object.keys(now.versions)) {
    const old = before.versions[name];
    if (old !== undefined && JSON.stringify(old) !== JSON.stringify(now.versions[name])) {
      found.push(`the versions of ${name} have changed`);
    }
  }
  return found.length > 0 ? found.join("; ") : null;
}

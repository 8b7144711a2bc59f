import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { difference, sourceIdentity } from "./identity.mjs";

let root;
const write = (path, text) => writeFileSync(join(root, path), text);
const commit = (words) => {
  const author = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"];
  execFileSync("git", [...author, "commit", "--quiet", "--allow-empty", "-am", words], {
    cwd: root,
  });
};

before(() => {
  root = mkdtempSync(join(tmpdir(), "fanfare-identity-"));
  execFileSync("git", ["init", "--quiet"], { cwd: root });
  mkdirSync(join(root, "src"));
  mkdirSync(join(root, "loadtest"));
  write("src/lib.rs", "one");
  write("loadtest/main.rs", "one");
  execFileSync("git", ["add", "."], { cwd: root });
  commit("first");
});
after(() => rmSync(root, { recursive: true }));

const identity = () => ({
  source: sourceIdentity(root),
  cpu: "one",
  kernel: "6.1",
  rust: "1.88",
  node: "20",
  timing: { seconds: 3 },
  versions: { peer: { ws: "8" } },
});

test("commits that change nothing measured do not end a campaign", () => {
  const old = identity();
  write("README.md", "words");
  write("loadtest/README.md", "words");
  commit("words");
  assert.equal(difference(old, identity()), null);
});

test("a change of what is measured does, also before it is committed", () => {
  const old = identity();
  assert.equal(old.source.fanfare.changed, false);
  write("src/lib.rs", "two");
  const now = identity();
  assert.equal(now.source.fanfare.changed, true);
  assert.match(difference(old, now), /fanfare is not what it was/);
  commit("two");
  assert.equal(difference(now, identity()), null);
});

test("a new file counts before git knows it", () => {
  const old = identity();
  write("loadtest/more.rs", "one");
  assert.match(difference(old, identity()), /swarm is not what it was/);
});

test("other machines, tools, times and versions end it, too", () => {
  const old = identity();
  for (const [key, value] of Object.entries({
    cpu: "two",
    kernel: "7.0",
    rust: "1.99",
    timing: { seconds: 1 },
    versions: { peer: { ws: "9" } },
  })) {
    assert.notEqual(difference(old, { ...identity(), [key]: value }), null, key);
  }
});

test("a peer that joins later is no change of the others", () => {
  const joined = { ...identity(), versions: { peer: { ws: "8" }, other: { ws: "1" } } };
  assert.equal(difference(identity(), joined), null);
});

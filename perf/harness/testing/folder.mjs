// A repository of which only the list of peers exists.
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PEERS } from "./sample.mjs";

export function folderWithPeers() {
  const root = mkdtempSync(join(tmpdir(), "fanfare-report-"));
  mkdirSync(join(root, "perf/peers"), { recursive: true });
  writeFileSync(join(root, "perf/peers/peers.json"), JSON.stringify(PEERS));
  return root;
}

// Rounds: in which order servers and scenarios come, and what of it is still to be done.
import { createHash } from "node:crypto";
import { limitSeconds, swarmArguments } from "./scenarios.mjs";
import { takesPart, whySkipped } from "./servers.mjs";

/**
 * All of one round, in batches: one start of one server with the runs that it serves. Groups come
 * one after the other and the servers of a group directly behind each other, so that those that are
 * compared are measured close together.
 */
export function roundOf(round, { groups, servers, seed, timing }) {
  const ordered = inOrder(servers, seed, round);
  return groups.flatMap((group) => {
    const parts = group.fresh ? group.scenarios.map((scenario) => [scenario]) : [group.scenarios];
    const compared = ordered.filter((server) => takesPart(server, group));
    return parts.flatMap((scenarios) =>
      compared.map((server) => ({
        round,
        group,
        server,
        runs: scenarios
          .filter((scenario) => whySkipped(server, scenario) === null)
          .map((scenario) => ({
            scenario,
            arguments: swarmArguments(scenario, server, timing),
            limit_s: limitSeconds(scenario, server, timing),
          })),
      })),
    );
  });
}

/**
 * The servers in an order that depends on seed and round alone: leaving some out does not change
 * how the others stand to each other.
 */
export function inOrder(servers, seed, round) {
  const place = (server) =>
    createHash("sha256").update(`${seed} ${round} ${server.name}`).digest("hex");
  return servers.toSorted((a, b) => (place(a) < place(b) ? -1 : 1));
}

/** Those batches that still have something to run, with only that. */
export function remaining(batches, store) {
  const left = batches.map((batch) => ({
    ...batch,
    runs: batch.runs.filter((run) => !store.has(batch, run)),
  }));
  return left.filter((batch) => batch.runs.length > 0);
}

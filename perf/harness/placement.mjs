// Which cores server and load generator get.

/** Machines with more cores than this show scaling with cores for each side. */
const SMALL = 4;

/** A function from a batch to prefixes and options that put it where it belongs. */
export function placementOn({ cores, chosen, descriptors }) {
  const limit = ["prlimit", `--nofile=${descriptors}:${descriptors}`];
  return ({ group, server }) => {
    if (!group.scaling) {
      return {
        server: [...limit, "taskset", "-c", `${chosen.server}`],
        swarm: limit,
        options: ["--cpu", `${chosen.swarm}`],
      };
    }
    if (cores.length <= SMALL) return { server: limit, swarm: limit, options: [] };
    const half = cores.length >> 1;
    const served = cores.slice(0, Math.min(half, server.shards));
    const others = cores.slice(half);
    return {
      server: [...limit, "taskset", "-c", served.join(",")],
      swarm: [...limit, "taskset", "-c", others.join(",")],
      options: ["--processes", `${others.length}`],
    };
  };
}

/** The same in words, for the reader of the scaling table. */
export function scalingInWords(cores) {
  if (cores <= SMALL) {
    return (
      `The machine has ${cores} cores, so server and load generator share them, neither pinned: ` +
      "this shows that a second shard works, not how far shards scale."
    );
  }
  return (
    "A shard has a core of its own in the first half of the cores; the load generator runs one " +
    "process on each core of the other half."
  );
}

// A network that loses packets, lets some overtake others and is cut for some seconds: clients miss
// nothing, see nothing twice, and none is given up.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Network, lacking } from "./support/network.js";

const CLIENTS = 100;
const PER_SECOND = 20;
const LOSS_PERCENT = 5;
const CUT_MS = 5_000;
const SEED = Number(process.env.DRILL_SEED ?? 54);
const room = fileURLToPath(new URL("support/room.js", import.meta.url));
const publish = fileURLToPath(new URL("support/publish.js", import.meta.url));

export default {
  name: "m54 packets that are lost and a partition of seconds cost no client an event",
  rows: [54],
  seconds: 150,
  needs: lacking,

  async run(drill) {
    const network = await Network.begin(drill, SEED);
    const server = await network.serve(drill, "benchmark");
    const clients = network.client(drill, "node", room, network.target, CLIENTS, "live");
    const publisher = network.beside(drill, "node", publish, `127.0.0.1:${server.port}`, "live", PER_SECOND);
    assert.deepEqual([await clients.hear(), await publisher.hear()], ["ready", "ready"]);
    network.lose(LOSS_PERCENT);
    publisher.say("begin");
    await sleep(10_000);
    network.cut();
    await sleep(CUT_MS);
    network.mend();
    await sleep(10_000);
    publisher.say("end");
    const published = Number(await publisher.hear());
    const told = await caughtUp(clients, published);
    const [, lost] = await network.counts();
    assert.deepEqual(told, { least: published, most: published, faults: 0, ended: 0 });
    return (
      `${published} events to ${CLIENTS} clients, ${LOSS_PERCENT} % of the packets lost and none for ` +
      `${CUT_MS / 1_000} s (${lost} lost in all, seed ${SEED}): each came once, in order, and nobody was given up`
    );
  },
};

/** What the clients have seen, once they have all of it, or a minute has passed. */
async function caughtUp(clients, published) {
  const until = Date.now() + 60_000;
  for (;;) {
    clients.say("tell");
    const told = JSON.parse(await clients.hear());
    if (told.least === published || told.ended > 0 || Date.now() > until) return told;
    await sleep(250);
  }
}

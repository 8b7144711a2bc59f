// Peers that vanish without a word: those who are sent events are given up by the kernel after 20 s,
// those who are sent nothing at the latest when they have not answered a ping.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Network, lacking } from "./support/network.js";

const EACH = 50;
const PER_SECOND = 2;
/** TCP_USER_TIMEOUT, and a ping interval with its timeout; the kernel and this drill look seldom. */
const BUSY_GONE_S = 20;
const IDLE_GONE_S = 25 + 20;
const SLACK_S = 3;
const room = fileURLToPath(new URL("support/room.js", import.meta.url));
const publish = fileURLToPath(new URL("support/publish.js", import.meta.url));

export default {
  name: "m54 peers that vanish are given up after 20 s with data outstanding and 45 s without",
  rows: [54],
  seconds: 120,
  needs: lacking,

  async run(drill) {
    const network = await Network.begin(drill, 1);
    const server = await network.serve(drill, "benchmark");
    const busy = network.client(drill, "node", room, network.target, EACH, "live");
    assert.equal(await busy.hear(), "ready");
    const busyPorts = new Set(network.connected());
    const idle = network.client(drill, "node", room, network.target, EACH, "quiet");
    assert.equal(await idle.hear(), "ready");
    const publisher = network.beside(drill, "node", publish, `127.0.0.1:${server.port}`, "live", PER_SECOND);
    assert.equal(await publisher.hear(), "ready");
    publisher.say("begin");
    await sleep(2_000);
    assert.equal(network.connected().length, 2 * EACH);
    network.cut();
    const cut = performance.now();
    const seconds = () => (performance.now() - cut) / 1_000;
    const gone = {};
    while (!(gone.busy && gone.idle) && seconds() < IDLE_GONE_S + 10) {
      await sleep(200);
      const left = network.connected();
      if (!left.some((port) => busyPorts.has(port))) gone.busy ??= seconds();
      if (left.every((port) => busyPorts.has(port))) gone.idle ??= seconds();
    }
    assert.ok(gone.busy <= BUSY_GONE_S + SLACK_S, `those who were sent events: ${gone.busy} s`);
    assert.ok(gone.idle <= IDLE_GONE_S + SLACK_S, `those who were sent nothing: ${gone.idle} s`);
    return (
      `${EACH} clients who were sent events had been given up ${gone.busy.toFixed(1)} s after the ` +
      `link was cut, ${EACH} who were sent nothing after ${gone.idle.toFixed(1)} s`
    );
  },
};

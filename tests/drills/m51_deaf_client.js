// One client that reads nothing while 450 MB are broadcast: it is let go, once, and all that the server
// ever held for it was what a queue may hold.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { join, lacking } from "./support/client.js";
import { listenTo } from "./support/network.js";
import { freeAddress, memoryKib, numbers } from "./support/numbers.js";

const EVENTS = 500;
const EVENT_BYTES = 900_000;
const UNDER_WAY = 4;
/** A queue, and what the events under way need to come in, be taken apart and go out. */
const GROWTH_KIB_MAX = 4 * 1_024 + (UNDER_WAY * 3 * EVENT_BYTES) / 1_024;
const stalled = fileURLToPath(new URL("support/stalled.py", import.meta.url));

export default {
  name: "m51 a client that reads nothing of 450 MB is let go and costs no more than its queue",
  rows: [51],
  seconds: 120,

  needs: lacking,

  async run(drill) {
    const metrics = await freeAddress();
    const server = await drill.start("benchmark", "--metrics", metrics);
    const { publish, close } = await publisher(drill, server);
    // What comes in is as large without it.
    await publish(20);
    const before = memoryKib(server.pid, "VmHWM");
    const deaf = listenTo(drill, "python3", stalled, server.port, 1);
    assert.equal(await deaf.hear(), "ready");
    await publish(EVENTS);
    const growth = memoryKib(server.pid, "VmHWM") - before;
    const after = await numbers(metrics);
    assert.equal(after.fanfare_disconnects_total, 1, "disconnects");
    assert.equal(after.fanfare_queued_bytes, 0, "bytes that wait");
    deaf.say("count");
    assert.equal(await deaf.hear(), "1");
    close();
    assert.ok(growth <= GROWTH_KIB_MAX, `resident memory grew by ${growth} KiB`);
    return `${EVENTS} events of ${EVENT_BYTES / 1_000} kB were broadcast: the other client had all of them, the deaf one was let go once, and resident memory was at most ${growth} KiB above what it was without it`;
  },
};

/** A client that publishes so many events, of which it is to get each back. */
async function publisher(drill, server) {
  const socket = await join(drill, server);
  const payload = "x".repeat(EVENT_BYTES);
  const publish = (count) =>
    new Promise((resolve, reject) => {
      let [sent, got] = [0, 0];
      const send = () => sent++ < count && socket.emit("publish", payload);
      socket.once("disconnect", reject);
      socket.removeAllListeners("broadcast");
      socket.on("broadcast", () => (++got === count ? resolve() : send()));
      for (let index = 0; index < UNDER_WAY; index++) send();
    });
  return { publish, close: () => socket.close() };
}

// A network between client and server that breaks when it is told to, in a way open to any program.
import { once } from "node:events";
import { createServer } from "node:net";
import { startProxy } from "../proxy.js";

/** Relays what goes to `relayUrl`, and breaks it when somebody connects to one of `cutUrls`. */
export class Relay {
  #closes = [];

  static async to(port) {
    const relay = new Relay();
    const proxy = await startProxy({ after: (close) => relay.#closes.push(close) }, port);
    const now = await relay.#onConnection(async () => proxy.cut());
    // Between two polls there is nothing to break.
    const inPoll = await relay.#onConnection(() => proxy.polling().then(() => proxy.cut()));
    const cutUrls = { polling: inPoll, websocket: now, upgrade: now };
    relay.urls = { relayUrl: proxy.url, cutUrls };
    return relay;
  }

  close() {
    for (const close of this.#closes) close();
  }

  /** A port of its own where each connection causes this and is then ended. */
  async #onConnection(cut) {
    const listener = createServer((socket) => {
      socket.on("error", () => {});
      const end = () => socket.destroy();
      cut().then(end, end);
    });
    this.#closes.push(() => listener.close());
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    return `http://127.0.0.1:${listener.address().port}/`;
  }
}

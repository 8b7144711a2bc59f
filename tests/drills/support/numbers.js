// What a server tells of itself: the sums of its metrics.
import { once } from "node:events";
import { createServer } from "node:net";

/** An address where nobody listens. */
export async function freeAddress() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = `127.0.0.1:${server.address().port}`;
  server.close();
  await once(server, "close");
  return address;
}

/** The sums of all shards and labels, by name. */
export async function numbers(address) {
  const text = await (await fetch(`http://${address}/metrics`)).text();
  const sums = {};
  for (const [, name, value] of text.matchAll(/^(\w+)(?:\{.*\})? (\S+)$/gm)) {
    sums[name] = (sums[name] ?? 0) + Number(value);
  }
  return sums;
}

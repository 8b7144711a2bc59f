// What a server tells of itself, the sums of its metrics, and what the kernel tells of it.
import { once } from "node:events";
import { readFileSync } from "node:fs";
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

/** Memory of a process, by its name in /proc: VmRSS is what it has now, VmHWM the most it has had. */
export function memoryKib(pid, name) {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, "m").exec(status)[1]);
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

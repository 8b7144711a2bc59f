// A server with the swarm's clients, which check all that they get, and others that read nothing.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const swarm = fileURLToPath(new URL("../../../target/release/swarm", import.meta.url));
const stalled = fileURLToPath(new URL("stalled.py", import.meta.url));

/** What this machine lacks, in words; null if nothing. */
export function lacking() {
  return existsSync(swarm) ? null : "the swarm: cargo build --release -p swarm";
}

/**
 * Has the swarm broadcast with these options, beside so many that do not read, to whom `tell` is
 * said after so long. Gives what the swarm has measured, and what the others answer.
 */
export async function broadcast(drill, options, { count, tell, afterMs = 0 }) {
  const server = await drill.start("benchmark");
  const children = [];
  const start = (program, ...args) => {
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    children.push(child);
    return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
  };
  try {
    const others = count > 0 ? start("python3", stalled, server.port, count) : null;
    if (others) assert.equal((await others.lines.next()).value, "ready");
    const target = ["--target", `127.0.0.1:${server.port}`, "--server-pid", server.pid];
    const { child, lines } = start(swarm, "fanout", ...target, "--json", "-", ...options);
    const exited = once(child, "exit");
    const timer = afterMs > 0 ? setTimeout(() => others.child.stdin.write(`${tell}\n`), afterMs) : null;
    let result = null;
    for await (const line of lines) if (line.startsWith("{")) result = JSON.parse(line);
    const [code] = await exited;
    clearTimeout(timer);
    assert.equal(code, 0, `the swarm ended with ${code}: something was lost`);
    if (others) {
      if (afterMs === 0) others.child.stdin.write(`${tell}\n`);
      result.answer = Number((await others.lines.next()).value);
    }
    return result;
  } finally {
    children.forEach((child) => child.kill());
    await server.stop();
  }
}

/** The p99 of the answers to a thousand events a second of 100 clients, for so long, in ms. */
export async function echo(port, seconds) {
  const options = ["--clients", 100, "--rate", 1_000, "--seconds", seconds, "--cpu", 1, "--sleep", "--json", "-"];
  const args = ["echo", "--target", `127.0.0.1:${port}`, ...options].map(String);
  const child = spawn(swarm, args, { stdio: ["ignore", "pipe", "ignore"] });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (data) => (said += data));
  const [code] = await once(child, "close");
  assert.equal(code, 0, said);
  return JSON.parse(said.split("\n").find((line) => line.startsWith("{"))).latency_p99_ms;
}

export function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

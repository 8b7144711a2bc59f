// Starting and stopping the server under test, on a port that nobody else has.
import { createServer } from "node:net";
import { end, start, withoutFolder } from "./children.mjs";
import { isRunning } from "./machine.mjs";

const PORT_FIRST = 5300;
const PORT_LAST = 5399;
const START_LIMIT_MS = 30_000;
const READY = /^listening on /m;

let port = PORT_FIRST + (process.pid % (PORT_LAST - PORT_FIRST + 1));

/**
 * The next port that nobody listens on. Servers that set SO_REUSEPORT would share it with one left
 * over from before, silently; binding without that option finds such a one.
 */
export async function freePort() {
  for (let tried = PORT_FIRST; tried <= PORT_LAST; tried += 1) {
    port = port < PORT_LAST ? port + 1 : PORT_FIRST;
    if (await isFree(port)) return port;
  }
  throw new Error(`no port of ${PORT_FIRST} to ${PORT_LAST} is free: are old servers running?`);
}

function isFree(candidate) {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(candidate, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}

/** A server that accepts connections; throws, saying why, when it does not come to that. */
export async function serve(server, prefix, root) {
  const address = `127.0.0.1:${await freePort()}`;
  const command = [...prefix, ...server.command(address)];
  const child = start(command, root);
  try {
    await listening(child);
  } catch (error) {
    await end(child);
    throw new Error(withoutFolder(`the server ${error.message}`, root));
  }
  return new Serving(server.name, child, address, command);
}

class Serving {
  #name;
  #child;

  constructor(name, child, address, command) {
    this.#name = name;
    this.#child = child;
    this.address = address;
    this.command = command;
  }

  get pid() {
    return this.#child.pid;
  }

  /** Asks the kernel: of a child that has just ended, Node may not know yet. */
  get isAlive() {
    return this.#child.exitCode === null && this.#child.signalCode === null && isRunning(this.pid);
  }

  /** The last of what it complained about. */
  get complaints() {
    return this.#child.errors;
  }

  /** Ends it; the words for how, when that was not as agreed. */
  async stop() {
    const { code, signal } = await end(this.#child);
    if (code === 0) return null;
    return `${this.#name} ended ${signal ? `by ${signal}` : `with status ${code}`}`;
  }
}

async function listening(child) {
  let timer;
  const ready = new Promise((resolve) => {
    child.stdout.on("data", () => READY.test(child.output) && resolve(null));
  });
  const ended = child.ended.then(({ code, signal, error }) => {
    return error ?? `ended ${signal ? `by ${signal}` : `with status ${code}`}`;
  });
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, START_LIMIT_MS, "did not say that it listens");
  });
  const failure = await Promise.race([ready, ended, late]);
  clearTimeout(timer);
  if (failure !== null) throw new Error([failure, firstLine(child.errors)].join(": "));
}

/** What a program that does not start says first is why; its usage may follow. */
function firstLine(text) {
  return text.trim().split("\n")[0];
}

/** The last line that says anything. */
export function lastLine(text) {
  return text.trim().split("\n").at(-1) ?? "";
}

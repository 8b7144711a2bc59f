// A server that is started to be checked.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
import { within } from "./deadline.mjs";

/** Time to start, on a machine that builds something else meanwhile. */
const START_DEADLINE_MS = 20_000;
/** What the contract gives a server to end. */
const STOP_DEADLINE_MS = 2_000;
const LISTENING = "listening on ";
/** The state of a listening socket in /proc/net/tcp. */
const LISTEN_STATE = "0A";

/** One process, from `--listen` to SIGTERM, and what it says. */
export class Server {
  target;
  #child;
  #output = "";

  /** Starts `command --listen ADDRESS` and waits until it says that it listens. */
  static async start([program, ...args]) {
    const server = new Server();
    server.target = `127.0.0.1:${await freePort()}`;
    const options = { stdio: ["ignore", "pipe", "pipe"] };
    server.#child = spawn(program, [...args, "--listen", server.target], options);
    const kill = () => server.kill();
    process.once("exit", kill);
    server.#child.once("exit", () => process.off("exit", kill));
    await server.#listening();
    return server;
  }

  async #listening() {
    const child = this.#child;
    const said = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", () => reject(new Error(`it ended at once: ${this.#output.trim()}`)));
      child.stderr.setEncoding("utf8").on("data", (text) => (this.#output += text));
      child.stdout.setEncoding("utf8").on("data", (text) => {
        this.#output += text;
        if (text.startsWith(LISTENING)) {
          resolve();
        }
      });
    });
    try {
      await within(said, `a line that begins with "${LISTENING}"`, START_DEADLINE_MS);
    } catch (error) {
      this.kill();
      throw error;
    }
  }

  /** Throws unless the process that was started is itself the one that listens. */
  mustListenItself() {
    const port = Number(this.target.split(":")[1]);
    const sockets = listeningSockets(port);
    const folder = `/proc/${this.#child.pid}/fd`;
    const open = readdirSync(folder).map((descriptor) => meaning(`${folder}/${descriptor}`));
    if (!sockets.some((inode) => open.includes(`socket:[${inode}]`))) {
      throw new Error("another process than the one that was started listens");
    }
  }

  /** Throws if it has said more than that it listens. */
  mustHaveBeenSilent() {
    const lines = this.#output.trim().split("\n");
    if (lines.length !== 1) {
      throw new Error(`${lines.length} lines were written, the second is: ${lines[1]}`);
    }
  }

  /** Sends SIGTERM; throws unless that ends it in time with status 0. */
  async mustEndWhenTold() {
    const child = this.#child;
    const exit = once(child, "exit");
    child.kill("SIGTERM");
    try {
      const [status, signal] = await within(exit, "the end after SIGTERM", STOP_DEADLINE_MS);
      if (status !== 0) {
        throw new Error(`it ended with ${signal ?? `status ${status}`} instead of status 0`);
      }
    } finally {
      this.kill();
    }
  }

  /** Ends it whatever it does; one that has ended is left alone. */
  kill() {
    this.#child.kill("SIGKILL");
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** The inodes of the sockets that listen on a port of this machine. */
function listeningSockets(port) {
  const rows = readFileSync("/proc/net/tcp", "utf8").trim().split("\n").slice(1);
  const fields = rows.map((row) => row.trim().split(/\s+/));
  const hexadecimal = port.toString(16).toUpperCase().padStart(4, "0");
  const listens = ([, local, , state]) =>
    state === LISTEN_STATE && local.endsWith(`:${hexadecimal}`);
  return fields.filter(listens).map((row) => row[9]);
}

/** What a descriptor stands for; one that was closed meanwhile stands for nothing. */
function meaning(link) {
  try {
    return readlinkSync(link);
  } catch {
    return null;
  }
}

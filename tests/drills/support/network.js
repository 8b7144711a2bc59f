// Two network namespaces, of a server and of its clients, with a link between them that can lose
// packets and be cut.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const LINK = fileURLToPath(new URL("lossy_link.py", import.meta.url));
const SERVER_ADDRESS = "10.77.0.1";
const CLIENT_ADDRESS = "10.77.0.2";
const PORT = 7_700;

/** What this machine lacks, in words; null if nothing. */
export function lacking() {
  if (process.getuid() !== 0) return "root, to make network namespaces";
  try {
    accessSync("/dev/net/tun", constants.R_OK | constants.W_OK);
    execFileSync("ip", ["netns", "list"], { stdio: "ignore" });
    return null;
  } catch (error) {
    return `network namespaces: ${error.message}`;
  }
}

/** A process and the lines that it says. */
export function listenTo(drill, program, ...args) {
  const child = spawn(program, args.map(String), { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(child, "exit");
  drill.after(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    pid: child.pid,
    say: (line) => child.stdin.write(`${line}\n`),
    end: () => child.stdin.end(),
    hear: async () => (await lines.next()).value,
  };
}

export class Network {
  target = `${SERVER_ADDRESS}:${PORT}`;
  #server = `fanfare-${process.pid}-server`;
  #clients = `fanfare-${process.pid}-clients`;
  #link;

  static async begin(drill, seed) {
    const network = new Network();
    const ends = [network.#server, network.#clients];
    for (const namespace of ends) {
      execFileSync("ip", ["netns", "add", namespace]);
      drill.after(() => execFileSync("ip", ["netns", "delete", namespace]));
    }
    const [server, clients] = ends;
    network.#link = listenTo(drill, "python3", LINK, server, SERVER_ADDRESS, clients, CLIENT_ADDRESS, seed);
    const said = await network.#link.hear();
    if (said !== "ready") throw new Error(`the link says ${said}`);
    return network;
  }

  /** An example that serves at `target`. */
  async serve(drill, example, ...flags) {
    drill.prefix = ["ip", "netns", "exec", this.#server];
    return drill.start(example, "--listen", this.target, ...flags);
  }

  /** A process among the clients. */
  client(drill, program, ...args) {
    return listenTo(drill, "ip", "netns", "exec", this.#clients, program, ...args);
  }

  /** A process beside the server. */
  beside(drill, program, ...args) {
    return listenTo(drill, "ip", "netns", "exec", this.#server, program, ...args);
  }

  /** Loses so many percent of the packets from now on, and delays the others. */
  lose(percent) {
    this.#link.say(`lose ${percent}`);
  }

  cut() {
    this.#link.say("cut");
  }

  mend() {
    this.#link.say("mend");
  }

  /** How many packets were passed on, and how many lost. */
  async counts() {
    this.#link.say("tell");
    return (await this.#link.hear()).split(" ").map(Number);
  }

  /** The ports of the clients whose connections the server's kernel has and nobody has ended. */
  connected() {
    const filter = ["state", "established", "sport", "=", `:${PORT}`];
    const listed = execFileSync("ip", ["netns", "exec", this.#server, "ss", "-Htn", ...filter]);
    const lines = listed.toString().split("\n").filter((line) => line.includes(CLIENT_ADDRESS));
    return lines.map((line) => Number(line.trim().split(/[\s:]+/).at(-1)));
  }
}

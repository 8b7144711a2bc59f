// Starts and stops the server under test as FIXTURE.md describes.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const START_DEADLINE_MS = 20_000;
const STOP_DEADLINE_MS = 5_000;
const OUTPUT_KEPT_CHARACTERS = 20_000;

/** Starts the server named by FANFARE_SERVER with these extra flags. */
export async function startServer(...flags) {
  return startServerOr(new URL("reference.js", import.meta.url), ...flags);
}

/** The same, where this script is what `reference` stands for. */
export async function startServerOr(reference, ...flags) {
  return startCommand(commandLine(reference), ...flags);
}

/** The same for the server that a command starts: a list of a program and its arguments. */
export async function startCommand(command, ...flags) {
  const server = new ServerUnderTest(command, flags);
  await server.start();
  return server;
}

class ServerUnderTest {
  #command;
  #flags;
  #port = 0;
  #child;
  #output = "";

  constructor(command, flags) {
    this.#command = command;
    this.#flags = flags;
  }

  get port() {
    return this.#port;
  }

  get pid() {
    return this.#child.pid;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Starts, the second time on the port of the first. */
  async start() {
    const [program, ...args] = this.#command;
    const shards = process.env.FANFARE_SHARDS ?? "1";
    args.push("--listen", `127.0.0.1:${this.#port}`, "--shards", shards, ...this.#flags);
    this.#output = "";
    this.#child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    const child = this.#child;
    // A test process that ends early must not leave a server behind.
    const kill = () => child.kill("SIGKILL");
    process.once("exit", kill);
    child.once("exit", () => process.off("exit", kill));
    this.#port = await this.#listening(child);
  }

  /** Sends the server a signal, and gives the status that it ends with. */
  async exits(signal) {
    const exited = once(this.#child, "exit");
    this.#child.kill(signal);
    const [code, killer] = await exited;
    return code ?? killer;
  }

  /** All that it has said since it was started, but for what is too long ago. */
  get output() {
    return this.#output;
  }

  /** Asks the server to end and requires that it does, in time and with status 0. */
  async stop() {
    const child = this.#child;
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), STOP_DEADLINE_MS);
      await exited;
      clearTimeout(late);
    }
    if (child.exitCode !== 0) {
      const how = child.signalCode ?? `status ${child.exitCode}`;
      throw new Error(`the server ended with ${how} instead of status 0\n${this.#output}`);
    }
  }

  /** Has the kernel end the server, which gets to do nothing any more. */
  async kill() {
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    const [, signal] = await exited;
    if (signal !== "SIGKILL") {
      throw new Error(`the server ended before it was killed\n${this.#output}`);
    }
  }

  /** The port in the line that says that the server listens. */
  #listening(child) {
    return new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`the server ${why}\n${this.#output}`));
      const late = setTimeout(() => {
        child.kill("SIGKILL");
        fail("did not say that it listens");
      }, START_DEADLINE_MS);
      const read = (chunk) => {
        this.#output = (this.#output + chunk).slice(-OUTPUT_KEPT_CHARACTERS);
        const line = /^listening on https?:\/\/127\.0\.0\.1:(\d+)\s*$/m.exec(this.#output);
        if (line) {
          clearTimeout(late);
          resolve(Number(line[1]));
        }
      };
      child.stdout.setEncoding("utf8").on("data", read);
      child.stderr.setEncoding("utf8").on("data", read);
      child.once("error", (error) => fail(`could not be started: ${error.message}`));
      child.once("exit", () => {
        clearTimeout(late);
        fail("ended before it listened");
      });
    });
  }
}

/** The command that FANFARE_SERVER names, where this script is what `reference` stands for. */
export function commandLine(reference) {
  const command = process.env.FANFARE_SERVER?.trim();
  if (!command) {
    throw new Error("set FANFARE_SERVER to the command of the server, or to `reference`");
  }
  if (command === "reference") {
    return [process.execPath, fileURLToPath(reference)];
  }
  return command.split(/\s+/);
}

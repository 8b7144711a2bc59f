// Processes that the report starts: each has a time limit, and none outlives the report.
import { spawn } from "node:child_process";
import { homedir } from "node:os";

const OUTPUT_KEPT_CHARACTERS = 1_000_000;
const ERRORS_KEPT_CHARACTERS = 4_000;
const END_GRACE_MS = 5_000;

const alive = new Set();
process.on("exit", () => alive.forEach((child) => child.kill("SIGKILL")));

/** Ends all that still run, and waits until they have. */
export async function endChildren() {
  await Promise.all([...alive].map((child) => end(child)));
}

/**
 * Starts a command in the folder `root`. In a session of its own: a Ctrl-C on the terminal reaches
 * the report alone, which then ends its children itself and records none of them as failed.
 */
export function start(command, root) {
  const [program, ...args] = command;
  const stdio = ["ignore", "pipe", "pipe"];
  const child = spawn(program, args, { cwd: root, stdio, detached: true });
  alive.add(child);
  child.output = "";
  child.errors = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    child.output = (child.output + text).slice(-OUTPUT_KEPT_CHARACTERS);
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    child.errors = (child.errors + text).slice(-ERRORS_KEPT_CHARACTERS);
  });
  child.ended = new Promise((resolve) => {
    child.once("error", (error) => resolve({ code: null, signal: null, error: error.message }));
    child.once("close", (code, signal) => resolve({ code, signal, error: null }));
  }).finally(() => alive.delete(child));
  return child;
}

/** Asks a child to end, and kills it when it does not. Whether it ended by itself, with what. */
export async function end(child, grace_ms = END_GRACE_MS) {
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), grace_ms);
  const ended = await child.ended;
  clearTimeout(timer);
  return ended;
}

/** Runs a command to its end, or to the end of its time. */
export async function run(command, root, limit_s) {
  const child = start(command, root);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    void end(child);
  }, limit_s * 1000);
  const ended = await child.ended;
  clearTimeout(timer);
  return { ...ended, timedOut, output: child.output, errors: child.errors };
}

/** Text without the folders in which this repository and its user happen to live. */
export function withoutFolder(text, root) {
  return text.replaceAll(root, ".").replaceAll(homedir(), "~");
}

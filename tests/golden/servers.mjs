// Which servers the probes are performed on, and what is known of their answers.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { startCommand } from "../clients/server.js";
import { perform } from "./perform.mjs";
import { probes, servers } from "./probes.mjs";

const packages = new URL("../clients/node_modules/", import.meta.url);

/** The command that starts the reference. */
export const reference = [process.execPath, fileURLToPath(new URL("reference.mjs", import.meta.url))];

/** Whether what the reference needs is installed. */
export const hasReference = existsSync(new URL("socket.io/package.json", packages));

/** The versions that make up the reference. */
export function versions() {
  const names = ["socket.io", "engine.io", "socket.io-parser", "engine.io-parser", "ws", "cors"];
  const version = (name) => read(new URL(`${name}/package.json`, packages)).version;
  return Object.fromEntries(names.map((name) => [name, version(name)]));
}

/** What is recorded in a file beside this one. */
export function recorded(name) {
  return read(new URL(name, import.meta.url));
}

function read(url) {
  return JSON.parse(readFileSync(url, "utf8"));
}

/** The answers of the server that `command` starts, to all probes. */
export async function answersOf(command) {
  const answers = {};
  for (const [name, options] of Object.entries(servers)) {
    const mine = probes.filter(({ server = "plain" }) => server === name);
    const hasOptions = Object.keys(options).length > 0;
    const flags = hasOptions ? ["--options", JSON.stringify(options)] : [];
    const server = await startCommand(command, ...flags);
    try {
      Object.assign(answers, await perform(server.url, mine));
    } finally {
      await server.stop();
    }
  }
  return answers;
}

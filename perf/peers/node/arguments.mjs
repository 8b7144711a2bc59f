// What every application here does with its command line, and when it is told to end.
import { parseArgs } from "node:util";

/** The host and port of `--listen ADDRESS:PORT`; without them, says so and ends the process. */
export function listenAddress() {
  try {
    const { values } = parseArgs({ options: { listen: { type: "string" } } });
    const [, host, port] = /^(.+):(\d+)$/.exec(values.listen ?? "") ?? [];
    if (host === undefined) {
      throw new Error("--listen ADDRESS:PORT is needed");
    }
    return { host, port: Number(port) };
  } catch (error) {
    fail(error.message, 2);
  }
}

/** Says that connections are accepted from now on; SIGTERM then ends the process with status 0. */
export function announce({ host, port }) {
  process.on("SIGTERM", () => process.exit(0));
  console.log(`listening on ${host}:${port}`);
}

/** Says why the application cannot go on, and ends it. */
export function fail(why, status = 1) {
  console.error(why);
  process.exit(status);
}

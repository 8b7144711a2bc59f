// Holds servers to the contract of README.md:
//
//   contract.mjs NAME...|all                            starts peers, by ./run
//   contract.mjs --target ADDRESS:PORT --protocol NAME  speaks to a server that runs
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { named } from "./catalogue.mjs";
import { PlainClient, SocketIoClient } from "./contract/clients.mjs";
import { RULES } from "./contract/rules.mjs";
import { Server } from "./contract/server.mjs";
import { WIRE_RULES } from "./contract/wire.mjs";

const RUN = fileURLToPath(new URL("run", import.meta.url));
const USAGE = `usage: contract.mjs NAME...|all
       contract.mjs --target ADDRESS:PORT --protocol socketio|websocket`;

/** The kinds of clients that the rules are tried with: clients take turns at what each can do. */
const KINDS = {
  socketio: [
    ["websocket", [["websocket"]]],
    ["polling", [["polling"]]],
    ["mixed", [["websocket"], ["polling"], ["polling", "websocket"]]],
  ],
  websocket: [["websocket", [[]]]],
};

const CONNECT = {
  socketio: (target, transports) => SocketIoClient.connect(target, transports),
  websocket: (target) => PlainClient.connect(target),
};

/** Prints what became of each rule, and keeps the broken ones. */
export class Report {
  broken = [];
  #print;

  constructor(print = console.log) {
    this.#print = print;
  }

  async try(rule, check) {
    try {
      await check();
      this.#print(`  ok     ${rule}`);
    } catch (error) {
      this.broken.push(rule);
      this.#print(`  FAULT  ${rule}: ${error.message}`);
    }
  }
}

/** Tries every rule that a server can be held to from outside. */
export async function checkTarget(target, protocol, report) {
  for (const [rule, check] of WIRE_RULES[protocol]) {
    await report.try(rule, () => check(target));
  }
  for (const [kind, turns] of KINDS[protocol]) {
    for (const [rule, check] of RULES) {
      await report.try(`${kind}: ${rule}`, () => withClients(target, protocol, turns, check));
    }
  }
}

/** Lets a rule connect clients and parts with them however it ends. */
async function withClients(target, protocol, turns, check) {
  const clients = [];
  const connect = async (count) => {
    for (let index = 0; index < count; index += 1) {
      clients.push(await CONNECT[protocol](target, turns[index % turns.length]));
    }
    return clients;
  };
  try {
    await check(connect);
  } finally {
    clients.forEach((client) => client.close());
  }
}

/** The same, of a server that is started for it; and that it starts, behaves and ends well. */
export async function checkCommand(command, protocol, report) {
  let server;
  await report.try("it says when it listens", async () => {
    server = await Server.start(command);
  });
  if (!server) {
    return;
  }
  await report.try("what was started is the server", () => server.mustListenItself());
  await checkTarget(server.target, protocol, report);
  await report.try("it writes nothing else", () => server.mustHaveBeenSilent());
  const turns = KINDS[protocol].at(-1)[1];
  await report.try("SIGTERM ends it within 2 s with status 0, clients or not", () =>
    withClients(server.target, protocol, turns, async (connect) => {
      await connect(turns.length);
      await server.mustEndWhenTold();
    }),
  );
}

async function main() {
  const options = { target: { type: "string" }, protocol: { type: "string" } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const report = new Report();
  if (values.target && values.protocol in KINDS && positionals.length === 0) {
    console.log(values.target);
    await checkTarget(values.target, values.protocol, report);
  } else if (!values.target && !values.protocol) {
    for (const { name, protocol } of named(positionals)) {
      console.log(name);
      await checkCommand([RUN, name], protocol, report);
    }
  } else {
    throw new Error(USAGE);
  }
  const { length } = report.broken;
  console.log(length === 0 ? "all rules are kept" : `${length} rules are broken`);
  process.exit(length === 0 ? 0 : 1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main().catch((error) => {
    console.error(error.message);
    process.exit(2);
  });
}

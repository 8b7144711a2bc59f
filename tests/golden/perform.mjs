// Performs probes on a server and gives its answers as text, one line for each thing that it sent
// or that happened. What differs from run to run is taken out: ids, dates, and how the end of an
// HTTP body is told.
import { createHash } from "node:crypto";
import { Connection, NOTHING, frame, readFrame, response } from "./peer.mjs";

/** The time in which nothing must come where nothing is what is expected. */
const QUIET_MS = 300;

/** How long a WebSocket whose closing handshake is done may take to end its connection. */
const END_MS = 2_000;

const ABBREVIATED_CHARACTERS = 200;
const KEPT_CHARACTERS = 60;

const UPGRADE = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/** Headers that say how a message is framed, when it was sent, or how long a server is patient. */
const UNSTABLE_HEADERS = new Set(["content-length", "transfer-encoding", "date", "keep-alive"]);

/** The answers of the server at `origin` to these probes, by their names. */
export async function perform(origin, probes) {
  const answers = {};
  for (const probe of probes) {
    const site = new Site(origin);
    try {
      answers[probe.name] = await site.perform(probe);
      await site.leave();
    } catch (error) {
      throw new Error(`probe ${JSON.stringify(probe.name)}: ${error.message}`, { cause: error });
    }
  }
  return answers;
}

/** What one probe does to a server, and what comes back. */
class Site {
  #origin;
  #answers = [];
  #connections = new Map();
  #sid;
  #pings = 0;

  constructor(origin) {
    this.#origin = origin;
  }

  async perform(probe) {
    const steps = probe.steps ?? websocketSteps(probe);
    for (const step of steps) {
      const [kind] = Object.keys(step);
      await this[kind](step[kind], step);
    }
    return collapsed(this.#answers);
  }

  /** Leaves nothing behind for the next probe. */
  async leave() {
    for (const { connection } of this.#connections.values()) connection.destroy();
    if (this.#sid) {
      const leave = { method: "POST", target: "/socket.io/?EIO=4&transport=polling&sid={sid}" };
      await this.#exchange({ ...leave, body: "1" });
    }
    const { sockets } = await this.#goneWithin(END_MS);
    if (sockets > 0) throw new Error("the server keeps its socket");
  }

  // Steps.

  /** A request on a connection of its own, and the response. */
  async ask(request) {
    this.#record(describe(await this.#exchange(request)));
  }

  /** A session on long-polling, whose id is `{sid}` from then on. */
  async open() {
    const opened = await this.#exchange({ target: "/socket.io/?EIO=4&transport=polling" });
    this.#sid = /"sid":"([^"]*)"/.exec(opened.body)[1];
  }

  /** It joins the namespace "/". */
  async join() {
    const target = "/socket.io/?EIO=4&transport=polling&sid={sid}";
    await this.#exchange({ method: "POST", target, body: "40" });
    const { body } = await this.#exchange({ target });
    if (!body.toString().startsWith('40{"sid":"')) throw new Error(`${body} instead of 40`);
  }

  /** A request whose answer is not waited for. Of the body only `partial` characters are sent. */
  async begin(name, { request }) {
    const connection = await Connection.open(this.#origin);
    this.#connections.set(name, { connection, method: request.method ?? "GET" });
    connection.send(this.#bytes(request));
    if (request.partial !== undefined) {
      // The server has taken up the request when it asks for the body.
      await connection.take(response());
      connection.send(Buffer.from(request.body).subarray(0, request.partial));
    }
    // Requests are read in the order in which they come: when these are answered, so was it.
    await this.#gone();
    await this.#gone();
  }

  /** The response to a request that was begun, or to each of those that were pipelined. */
  async answer(name, { quiet }) {
    const { connection, method } = this.#connections.get(name);
    const answer = await connection.take(response(method), quiet && QUIET_MS);
    this.#record(describe(answer));
  }

  /** The connection of a request that was begun breaks. */
  async abort(name) {
    this.#connections.get(name).connection.destroy();
  }

  /** A WebSocket handshake, and the response. */
  async upgrade(name, { request = {} }) {
    const { lines = UPGRADE, headers = [], target = "/socket.io/?EIO=4&transport=websocket" } =
      request;
    const connection = await Connection.open(this.#origin);
    this.#connections.set(name, { connection });
    connection.send(this.#bytes({ ...request, target, lines: [...lines, ...headers] }));
    this.#record(describe(await connection.take(response())));
  }

  /** The same, for a session that the probe is not about: it may join "/". */
  async websocket(name, { join }) {
    const connection = await Connection.open(this.#origin);
    this.#connections.set(name, { connection });
    const target = "/socket.io/?EIO=4&transport=websocket";
    connection.send(this.#bytes({ target, lines: UPGRADE }));
    await connection.take(response());
    await connection.take(readFrame);
    if (!join) return;
    connection.send(text("40"));
    const { payload } = await connection.take(readFrame);
    if (!payload.toString().startsWith('40{"sid":"')) throw new Error(`${payload} for 40`);
  }

  /**
   * Frames, each sent when the one before was worked off, or all at once with `together`: strings
   * as text messages, others as `frame` makes them.
   */
  async say(name, { frames, together }) {
    const { connection } = this.#connections.get(name);
    const bytes = frames.map((each) => (typeof each === "string" ? text(each) : frame(each)));
    if (together) return connection.send(Buffer.concat(bytes));
    for (const [index, each] of bytes.entries()) {
      connection.send(each);
      const isOpen = index === bytes.length - 1 || (await this.#hears(name, this.#pinged(name)));
      if (!isOpen) return;
    }
  }

  /**
   * What the server has sent on a WebSocket when it has worked off all frames: it is `open` then,
   * or has ended. `by` says how to know: by an acknowledgement, or by pongs where an event would
   * change what is probed.
   */
  async hear(name, { by = "ack" }) {
    const { connection } = this.#connections.get(name);
    if (this.#connections.get(name).isClosed) return;
    if (by === "ack") {
      connection.send(text('42999["sync"]'));
      const isSync = ({ payload }) => payload.toString() === "43999[]";
      if (await this.#hears(name, isSync)) this.#record("open");
      return;
    }
    // What was asked for before the first pong is done before the second one.
    for (let round = 0; round < 2; round++) {
      if (!(await this.#hears(name, this.#pinged(name)))) return;
    }
    this.#record("open");
  }

  /** Whether the sockets are gone, and why; after a while they are taken to stay. */
  async settle() {
    const { sockets, reasons } = await this.#goneWithin(QUIET_MS);
    this.#record(...reasons.map((reason) => `disconnect: ${reason}`));
    if (sockets > 0) this.#record("connected");
  }

  /** Why sockets have gone: all of them, when this WebSocket has ended, or those that have so far. */
  async after(name) {
    const { isClosed } = this.#connections.get(name);
    const { reasons } = isClosed ? await this.#goneWithin(END_MS) : await this.#gone();
    this.#record(...reasons.map((reason) => `disconnect: ${reason}`));
  }

  // What they are made of.

  #record(...lines) {
    this.#answers.push(...lines.map(stable));
  }

  /** A ping, and how its pong is known. */
  #pinged(name) {
    const payload = `sync ${this.#pings++}`;
    this.#connections.get(name).connection.send(frame({ first: 0x89, payload }));
    return ({ first, payload: echoed }) => first === 0x8a && echoed.toString() === payload;
  }

  /** Records frames up to one of which `isLast` is true; false when the WebSocket closes before. */
  async #hears(name, isLast) {
    const peer = this.#connections.get(name);
    for (;;) {
      const received = await peer.connection.take(readFrame);
      if (received === null) {
        this.#record("end");
        break;
      }
      if (isLast(received)) return true;
      this.#record(describeFrame(received));
      if (received.first === 0x88) {
        // The closing handshake is done as RFC 6455 asks for, and then the server ends.
        peer.connection.send(frame({ first: 0x88, hex: received.payload.toString("hex") }));
        if (!(await peer.connection.ends(END_MS))) this.#record("does not end");
        break;
      }
    }
    peer.isClosed = true;
    return false;
  }

  async #exchange(request) {
    const connection = await Connection.open(this.#origin);
    connection.send(this.#bytes(request));
    const answer = await connection.take(response(request.method));
    connection.destroy();
    return answer;
  }

  /** The bytes of a request, or of several that are pipelined. */
  #bytes(request) {
    if (request.pipelined) {
      return Buffer.concat(request.pipelined.map((each) => this.#bytes(each)));
    }
    const { method = "GET", target, version = "1.1", headers = [], body, hex } = request;
    const lines = request.lines ?? ["Connection: close", ...headers];
    const content = hex === undefined ? Buffer.from(body ?? "") : Buffer.from(hex, "hex");
    const declared = request.declared ?? content.length;
    const hasLength = body !== undefined || hex !== undefined || request.declared !== undefined;
    const head = [
      `${method} ${target.replace("{sid}", this.#sid)} HTTP/${version}`,
      "Host: probe",
      ...lines,
      ...(hasLength ? [`Content-Length: ${declared}`] : []),
      ...(request.partial === undefined ? [] : ["Expect: 100-continue"]),
    ];
    const withBody = request.partial === undefined ? content : Buffer.alloc(0);
    return Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), withBody]);
  }

  /** How many sockets there are, and why others have gone since it was asked last. */
  async #gone() {
    const { body } = await this.#exchange({ target: "/gone" });
    return JSON.parse(body);
  }

  async #goneWithin(limitMs) {
    const until = performance.now() + limitMs;
    const reasons = [];
    for (;;) {
      const gone = await this.#gone();
      reasons.push(...gone.reasons);
      if (gone.sockets === 0 || performance.now() > until) return { ...gone, reasons };
    }
  }
}

function websocketSteps({ send, join = true, together, by }) {
  return [
    { websocket: "it", join },
    { say: "it", frames: send, together },
    { hear: "it", by },
    { after: "it" },
  ];
}

function text(payload) {
  return frame({ payload });
}

/** Lines that are alike and come one behind the other are one, with their number. */
function collapsed(lines) {
  const runs = [];
  for (const line of lines) {
    const last = runs.at(-1);
    if (last?.line === line) last.count++;
    else runs.push({ line, count: 1 });
  }
  return runs.map(({ line, count }) => (count > 1 ? `${line} (${count} times)` : line));
}

function describe(answer) {
  if (answer === null) return "end";
  if (answer === NOTHING) return "nothing";
  const { status, headers, body } = answer;
  const stableHeaders = headers.filter(([name]) => !UNSTABLE_HEADERS.has(name));
  const lines = stableHeaders.map(([name, value]) => `${name}: ${value}`).sort();
  return [status, ...lines, ...(body.length > 0 ? ["", body.toString()] : [])].join("\n");
}

function describeFrame({ first, payload }) {
  switch (first) {
    case 0x81:
      return `text ${payload}`;
    case 0x82:
      return `binary ${payload.toString("hex")}`;
    case 0x88:
      return payload.length < 2 ? "close" : `close ${payload.readUInt16BE(0)}${payload.subarray(2)}`;
    case 0x8a:
      return `pong ${payload}`;
    default:
      return `frame ${first.toString(16)} ${payload.toString("hex")}`;
  }
}

/** Without ids, and no longer than can be read. */
function stable(line) {
  const withoutIds = line
    .replace(/(\\?"(?:sid|pid)\\?":\\?")[^"\\]+/g, "$1<id>")
    .replace(/(set-cookie: [^=]+=)[^;\n]+/, "$1<id>");
  if (withoutIds.length <= ABBREVIATED_CHARACTERS || !/^(text|binary|pong)/.test(withoutIds)) {
    return withoutIds;
  }
  const digest = createHash("sha256").update(withoutIds).digest("hex").slice(0, 8);
  const kept = withoutIds.slice(0, KEPT_CHARACTERS);
  return `${kept}… (${withoutIds.length} characters, sha256 ${digest}…)`;
}

// The scenarios for every socket.io-client, in Node and in browsers: nothing here is of one version.
import { Inbox, next, reasonOf, withDeadline } from "../../waiting.js";

const SCENARIO_DEADLINE_MS = 60_000;

// Of a message that may have a million bytes, and of one that travels as base64, a third larger.
const LARGE = 999_900;
const LARGE_IN_BASE64 = 740_000;

const OPTIONS = {
  polling: { transports: ["polling"] },
  websocket: { transports: ["websocket"] },
  upgrade: { transports: ["polling", "websocket"] },
};

const latin1 = new TextDecoder("latin1");

const UNICODE = "utf8 — ☃ 日本語 👩‍👩‍👧‍👦 \u0000 \u2028 \" \\ é";

const JSON_VALUES = [
  ["plain"],
  [null],
  ["a", null, 1],
  [{ a: [1, { b: [[], {}, null, true, -0.5, 1e-21, ""] }] }],
  [1, "2", [3], { four: 4 }, null, false],
];

const BINARY_VALUES = [
  ["text", bytes(1), { deep: [bytes(2, 3), null] }, 4],
  [Array.from({ length: 10 }, (_, i) => bytes(i))],
  [{ empty: bytes(), after: 1 }, "☃"],
];

/**
 * Runs what the plan asks for with clients that are made with these options, and reports each
 * scenario as it ends; README.md has the plan.
 */
export async function run(io, plan, report, options = {}) {
  const kept = [];
  for (const { transport, scenarios } of plan.runs) {
    if (!scenarios.includes("heartbeat")) continue;
    const peer = new Peer(io, plan, transport, options);
    const keeping = peer.keep(plan.silenceMs);
    // What goes wrong with it is looked at last.
    keeping.catch(() => {});
    kept.push({ transport, peer, keeping });
  }
  for (const { transport, scenarios } of plan.runs) {
    for (const scenario of scenarios.filter((scenario) => scenario !== "heartbeat")) {
      const peer = new Peer(io, plan, transport, options);
      report(transport, scenario, await failure(scenario, implemented[scenario](peer)));
      peer.end();
    }
  }
  for (const { transport, peer, keeping } of kept) {
    report(transport, "heartbeat", await failure("heartbeat", heartbeat(keeping)));
    peer.end();
  }
}

/** What went wrong in a scenario, or null. */
async function failure(scenario, course) {
  try {
    await withDeadline(scenario, course, SCENARIO_DEADLINE_MS);
    return null;
  } catch (error) {
    return error.message;
  }
}

/** One side of a scenario: makes clients, which end with it. */
class Peer {
  #io;
  #plan;
  #options;
  #sockets = [];

  constructor(io, plan, transport, options) {
    this.#io = io;
    this.#plan = plan;
    this.#options = { reconnectionDelay: 20, ...OPTIONS[transport], ...options };
    this.transport = transport;
    /** Whether binary is the only thing that travels. */
    this.isBinary = plan.parser === "msgpack";
    /** Whether it is a client of 2.x. */
    this.isOld = io.protocol === 4;
  }

  /** A client of a namespace, not connected yet. */
  open(namespace = "/", { auth, ...options } = {}, url = this.#plan.url) {
    const all = { forceNew: true, ...this.#options, ...options };
    // What 2.x has in place of auth is a query, but not in the namespace `/`.
    const address = url + namespace;
    if (!this.isOld || !auth) return this.#own(this.#io(address, { ...all, auth }));
    return this.#own(this.#io(`${address}?${new URLSearchParams(auth)}`, all));
  }

  /** What a client is told that is not let in: a message and data, of which 2.x is told one. */
  async refusal(socket) {
    const [error] = await next(socket, this.isOld ? "error" : "connect_error");
    return this.isOld ? [error] : [error.message, error.data];
  }

  /** A client whose connection `cut` breaks. */
  relayed() {
    return this.connected("/", {}, this.#plan.relayUrl);
  }

  cut() {
    // The answer is that the connection ends.
    fetch(this.#plan.cutUrls[this.transport], { mode: "no-cors" }).catch(() => {});
  }

  /** A client that is connected and, where it is to be upgraded, has been. */
  async connected(...where) {
    const socket = this.open(...where);
    await next(socket, "connect");
    await this.settled(socket);
    return socket;
  }

  async settled(socket) {
    const { engine } = socket.io;
    if (this.transport === "upgrade" && engine.transport.name !== "websocket") {
      await next(engine, "upgrade");
    }
  }

  /** Clients of these namespaces over one connection. */
  shared(...namespaces) {
    const manager = new this.#io.Manager(this.#plan.url, this.#options);
    return namespaces.map((namespace) => this.#own(manager.socket(namespace)));
  }

  /** A client that must stay connected for longer than the server lets one be silent. */
  async keep(silenceMs) {
    const socket = await this.connected("/", {}, this.#plan.heartbeatUrl);
    const { id } = socket;
    const lost = new Inbox(socket, "disconnect");
    const over = new Promise((resolve) => setTimeout(resolve, silenceMs));
    return { socket, id, lost, over };
  }

  end() {
    for (const socket of this.#sockets) {
      socket.io.reconnection(false);
      socket.disconnect();
    }
  }

  #own(socket) {
    this.#sockets.push(socket);
    return socket;
  }
}

async function heartbeat(keeping) {
  const { socket, id, lost, over } = await keeping;
  await over;
  same(lost.drain(), []);
  same(socket.id, id);
  same(await request(socket, "ack", 1), [1]);
}

const implemented = {
  async connect(peer) {
    const auth = { token: UNICODE, nested: [1, { a: null }] };
    const socket = peer.open("/", peer.isOld ? {} : { auth });
    same(await next(socket, "auth"), [peer.isOld ? {} : auth]);
    await peer.settled(socket);
    const [{ id, transport, rooms }] = await request(socket, "whoami");
    const expected = peer.transport === "polling" ? "polling" : "websocket";
    same([id, rooms, transport], [socket.id, [socket.id], expected]);
    same(socket.io.engine.transport.name, expected);
  },

  async events(peer) {
    const socket = await peer.connected();
    for (const args of JSON_VALUES) await echoed(socket, args);
    await echoedInOrder(socket, numbered(100));
  },

  async bare(peer) {
    await echoed(await peer.connected(), []);
  },

  async acks(peer) {
    const socket = await peer.connected();
    for (const args of [...JSON_VALUES, []]) same(await request(socket, "ack", ...args), args);
    const answers = await Promise.all(numbered(20).map((args) => request(socket, "ack", ...args)));
    same(answers, numbered(20));
  },

  async questions(peer) {
    const socket = await peer.connected();
    socket.on("question", (...args) => args.pop()(...args));
    for (const args of [...JSON_VALUES, []]) await asked(socket, args);
    socket.off("question");
    const answered = next(socket, "answered");
    socket.emit("ask", 50, "anyone?");
    same(await answered, [false]);
  },

  async binary(peer) {
    const socket = await peer.connected();
    await echoed(socket, [bytes(0, 1, 2, 254, 255)]);
    await echoed(socket, [pattern(256)]);
  },

  async empty(peer) {
    await echoed(await peer.connected(), [bytes()]);
  },

  async nested(peer) {
    const socket = await peer.connected();
    socket.on("question", (...args) => args.pop()(...args));
    for (const args of BINARY_VALUES) {
      await echoed(socket, args);
      same(await request(socket, "ack", ...args), args);
      await asked(socket, args);
    }
  },

  async unicode(peer) {
    const socket = await peer.connected();
    const [room, event] = ["räume/☃", "événement 日本語"];
    await echoed(socket, [UNICODE]);
    await request(socket, "join", room);
    const arrived = next(socket, event);
    socket.emit("in", [room], [], event, UNICODE);
    same(await arrived, [UNICODE]);
  },

  async large(peer) {
    const socket = await peer.connected();
    // Polling has text only.
    const binary = peer.transport === "polling" ? LARGE_IN_BASE64 : LARGE;
    await echoed(socket, ["x".repeat(peer.isBinary ? binary : LARGE)]);
    await echoed(socket, [pattern(binary)]);
  },

  async namespace(peer) {
    const auth = { token: "custom" };
    const socket = peer.open("/custom", { auth });
    same(await next(socket, "auth"), [auth]);
    await echoed(socket, ["a", bytes(1)]);
    same(await request(socket, "ack", "b"), ["b"]);
    const unknown = peer.open("/unknown", { reconnection: false });
    const [what] = await peer.refusal(unknown);
    same(what, peer.isOld ? { message: "Invalid namespace" } : "Invalid namespace");
  },

  async shared(peer) {
    const [main, custom] = peer.shared("/", "/custom");
    await Promise.all([next(main, "connect"), next(custom, "connect")]);
    await Promise.all([
      echoedInOrder(main, numbered(50)),
      echoedInOrder(custom, numbered(50, 1_000)),
    ]);
    const left = next(custom, "disconnect");
    custom.emit("disconnect-me", false);
    same((await left)[0], "io server disconnect");
    same(await request(main, "ack", "still there"), ["still there"]);
  },

  async rooms(peer) {
    const sockets = [await peer.connected(), await peer.connected(), await peer.connected()];
    const inboxes = sockets.map((socket) => new Inbox(socket, "news"));
    const fences = sockets.map((socket) => new Inbox(socket, "fence"));
    const [a, b, c] = sockets;
    const [ofA, ofB] = inboxes;
    await Promise.all([request(a, "join", "one"), request(b, "join", "one")]);
    await request(b, "join", "two");
    for (const [i] of numbered(20)) c.emit("to", ["one", "two"], [], "news", i);
    c.emit("to", [], [], "news", "all but c");
    for (const inbox of [ofA, ofB]) same(await inbox.take(21), [...numbered(20), ["all but c"]]);
    a.emit("to", ["one"], [], "news", "b");
    same(await ofB.take(), [["b"]]);
    c.emit("in", ["one", "two"], [b.id], "news", "a");
    await request(b, "leave", "one");
    c.emit("in", ["one"], [], "news", bytes(1));
    same(await ofA.take(2), [["a"], [bytes(1)]]);
    // What was sent to the wrong ones comes before the fence of who had it sent.
    for (const socket of [a, c]) socket.emit("in", [], [], "fence", null);
    for (const fence of fences) await fence.take(2);
    same(inboxes.map((inbox) => inbox.drain()), [[], [], []]);
  },

  async refused(peer) {
    const stranger = peer.open("/guarded", { auth: { token: "x" }, reconnection: false });
    const data = { code: 7, why: "no ☃ token" };
    same(await peer.refusal(stranger), peer.isOld ? [data] : ["not allowed", data]);
    same(stranger.connected, false);
    const friend = await peer.connected("/guarded", { auth: { token: "open sesame" } });
    same(friend.connected, true);
  },

  async leave(peer) {
    const [socket, watcher] = [await peer.connected(), await peer.connected()];
    const { id } = socket;
    const gone = new Inbox(watcher, "gone");
    const left = next(socket, "disconnect");
    socket.disconnect();
    same((await left)[0], "io client disconnect");
    same(await reasonOf(gone, id), "client namespace disconnect");
    await comesBack(peer, socket, id);
  },

  async ended(peer) {
    for (const close of [false, true]) {
      const socket = await peer.connected();
      const { id } = socket;
      const left = next(socket, "disconnect");
      socket.emit("disconnect-me", close);
      same((await left)[0], "io server disconnect");
      await comesBack(peer, socket, id);
    }
  },

  async reconnect(peer) {
    const socket = await peer.relayed();
    const { id } = socket;
    const lost = next(socket, "disconnect");
    peer.cut();
    const [reason] = await lost;
    if (!["transport close", "transport error"].includes(reason)) throw new Error(reason);
    await next(socket, "connect");
    same(socket.id !== id, true);
    same(await request(socket, "ack", "back"), ["back"]);
  },

  async upgrade(peer) {
    const socket = peer.open();
    const bursts = new Inbox(socket, "burst");
    await next(socket, "connect");
    socket.emit("burst", 50, 0);
    await echoedInOrder(socket, numbered(50));
    same(await bursts.take(50), numbered(50));
    await peer.settled(socket);
    same((await request(socket, "whoami"))[0].transport, "websocket");
  },
};

async function comesBack(peer, socket, id) {
  const { engine } = socket.io;
  // A manager of 2.x takes the end of its old connection for that of a new one.
  if (peer.isOld && engine.readyState !== "closed") await next(engine, "close");
  socket.connect();
  await next(socket, "connect");
  same(socket.id !== id, true);
  same(await request(socket, "ack", "back"), ["back"]);
}

async function echoed(socket, args) {
  const arrived = next(socket, "echo");
  socket.emit("echo", ...args);
  same(await arrived, args);
}

async function echoedInOrder(socket, list) {
  const echoes = new Inbox(socket, "echo");
  for (const args of list) socket.emit("echo", ...args);
  same(await echoes.take(list.length), list);
  socket.off("echo");
}

/** Has the server ask this, and requires that it understands the answer. */
async function asked(socket, args) {
  const answered = next(socket, "answered");
  socket.emit("ask", 5_000, ...args);
  same(await answered, [true, ...args]);
}

/** The arguments of the ack to this event. */
function request(socket, event, ...args) {
  return withDeadline(`ack to ${event}`, new Promise((resolve) => {
    socket.emit(event, ...args, (...answers) => resolve(answers));
  }));
}

function numbered(count, first = 0) {
  return Array.from({ length: count }, (_, i) => [first + i]);
}

/** Binary in the form in which it arrives on this platform, which every parser takes. */
function bytes(...values) {
  return typeof Buffer === "undefined" ? Uint8Array.from(values).buffer : Buffer.from(values);
}

function pattern(size) {
  const { buffer } = new Uint8Array(size).map((_, i) => i % 251);
  return typeof Buffer === "undefined" ? buffer : Buffer.from(buffer);
}

/** Binary, which arrives as a Buffer or as an ArrayBuffer, is its bytes; keys have no order. */
function plain(value) {
  if (value instanceof ArrayBuffer) return { bytes: latin1.decode(value) };
  if (ArrayBuffer.isView(value)) return { bytes: latin1.decode(value) };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  const keys = Object.keys(value).sort();
  return Object.fromEntries(keys.map((key) => [key, plain(value[key])]));
}

function same(actual, expected) {
  const [is, must] = [actual, expected].map((value) => JSON.stringify(plain(value)));
  if (is !== must) throw new Error(`${shown(is)} instead of ${shown(must)}`);
}

function shown(text) {
  return text.length > 300 ? `${text.slice(0, 300)}… (${text.length} characters)` : text;
}

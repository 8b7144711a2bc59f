// Random packets, written and read by socket.io-parser: what comes back from the server must be what
// socket.io-parser itself makes of what was sent. SEED chooses other packets.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Decoder, Encoder, PacketType } from "socket.io-parser";
import WebSocket from "ws";
import { startServer } from "./server.js";
import { DEADLINE_MS, withDeadline } from "./waiting.js";

const PACKETS = 1_000;
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));

// What the server takes in one packet, and how deep it lets values be.
const ATTACHMENTS_MAX = 10;
const DEPTH_MAX = 6;

const server = await startServer();
after(() => server.stop());

/** Random numbers below a bound, the same for the same seed (mulberry32). */
function randomOf(seed) {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}

// Pieces of texts: what JSON escapes, what packets are made of, and half of a character.
const PIECES = [
  "", " ", "a", "\"", "\\", "/", "\0", "\n", "\x1e", "\x7f", "é", "☃", "😀", "\u2028", "\ud800", "\udc00",
  "-", ",", "[", "]", "{", "}", "0", "451-", "/custom,", "null", "_placeholder", "num", "constructor",
  "toString", "x".repeat(130), "y".repeat(2_000),
];

// Without the halves: where the application reads values, no text of Rust can hold them.
const WHOLE_PIECES = PIECES.filter((piece) => piece.isWellFormed());

const NUMBERS = [0, -0, 1, -1, 0.1, -1.5e-9, 1e21, 5e-324, 2 ** 53, -(2 ** 53), 1.7976931348623157e308];

/** Makes arguments, of which so many may be binary. */
class Arguments {
  #random;
  #attachments;
  #pieces;

  constructor(random, attachments, pieces = PIECES) {
    this.#random = random;
    this.#attachments = attachments;
    this.#pieces = pieces;
  }

  list() {
    return Array.from({ length: this.#random(5) }, () => this.#value(0));
  }

  object(depth = 0) {
    const entries = Array.from({ length: this.#random(5) }, () => [this.text(), this.#value(depth)]);
    return Object.fromEntries(entries);
  }

  text() {
    return Array.from({ length: this.#random(4) }, () => this.#one(this.#pieces)).join("");
  }

  #value(depth) {
    switch (this.#random(depth < DEPTH_MAX ? 9 : 6)) {
      case 0:
        return this.text();
      case 1:
        return this.#one([null, true, false, undefined, new Date(1e12), NaN]);
      case 2:
        return this.#one(NUMBERS);
      case 3:
        return this.#random(2 ** 32) - 2 ** 31;
      case 4:
      case 5:
        return this.#binary();
      case 6:
        return this.object(depth + 1);
      default:
        return Array.from({ length: this.#random(5) }, () => this.#value(depth + 1));
    }
  }

  #binary() {
    if (this.#attachments === 0) return "no more binary";
    this.#attachments -= 1;
    const length = this.#one([0, 1, 125, 126, 1_000, 66_000]);
    return Buffer.alloc(length, `${this.#random(2 ** 32)}`);
  }

  #one(list) {
    return list[this.#random(list.length)];
  }
}

/** A Socket.IO client that is a WebSocket and the official parser. */
class Client {
  #websocket;
  #encoder = new Encoder();
  #decoder = new Decoder();
  #packets = [];
  #wake = () => {};

  constructor(url) {
    this.#websocket = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
    this.#decoder.on("decoded", (packet) => this.#arrived(packet));
    this.#websocket.on("message", (data, isBinary) => {
      const text = isBinary ? "" : data.toString();
      if (isBinary) this.#decoder.add(data);
      else if (text === "2") this.#websocket.send("3");
      else if (text[0] === "4") this.#decoder.add(text.slice(1));
    });
    this.#websocket.on("close", (code) => this.#arrived({ type: "the connection was closed", code }));
  }

  async open() {
    await withDeadline("open", new Promise((resolve, reject) => {
      this.#websocket.once("open", resolve);
      this.#websocket.once("error", reject);
    }));
  }

  send(packet) {
    for (const piece of this.#encoder.encode(packet)) {
      this.#websocket.send(typeof piece === "string" ? `4${piece}` : piece);
    }
  }

  async next() {
    await withDeadline("a packet", new Promise((resolve) => {
      this.#wake = () => this.#packets.length > 0 && resolve();
      this.#wake();
    }));
    return this.#packets.shift();
  }

  /** Requires that the next packet is what the parser makes of this one. */
  async expect(packet) {
    assert.deepStrictEqual(await this.next(), read(this.#encoder.encode(packet)));
  }

  async join(nsp, data) {
    this.send({ type: PacketType.CONNECT, nsp, data });
    const { type, data: reply } = await this.next();
    assert.equal(type, PacketType.CONNECT);
    assert.equal(typeof reply.sid, "string");
    await this.expect(event(nsp, "auth", data ?? {}));
  }

  close() {
    this.#websocket.removeAllListeners("close");
    this.#websocket.terminate();
  }

  #arrived(packet) {
    this.#packets.push(packet);
    this.#wake();
  }
}

/** The packet that the parser reads from what it has written. */
function read(pieces) {
  let packet;
  const decoder = new Decoder();
  decoder.on("decoded", (decoded) => (packet = decoded));
  for (const piece of pieces) decoder.add(piece);
  return packet;
}

function event(nsp, ...data) {
  return { type: PacketType.EVENT, nsp, data };
}

// What is done with random arguments in a namespace, and what must come back.
const EXCHANGES = {
  async echo(client, nsp, make) {
    const args = make().list();
    client.send(event(nsp, "echo", ...args));
    await client.expect(event(nsp, "echo", ...args));
  },

  async "an event of any name"(client, nsp, make) {
    const values = make(undefined, WHOLE_PIECES);
    const name = `any ${values.text()}`;
    const payload = values.object();
    client.send(event(nsp, "in", [], [], name, payload));
    await client.expect(event(nsp, name, payload));
  },

  async "an acknowledgement"(client, nsp, make, random) {
    const args = make().list();
    const id = [0, 1, 9, 10, random(2 ** 32), Number.MAX_SAFE_INTEGER][random(6)];
    client.send({ ...event(nsp, "ack", ...args), id });
    await client.expect({ type: PacketType.ACK, nsp, id, data: args });
  },

  async "an acknowledgement of the client"(client, nsp, make) {
    const [question, answer] = [make().list(), make().list()];
    client.send(event(nsp, "ask", DEADLINE_MS, ...question));
    const { id, ...asked } = await client.next();
    assert.equal(typeof id, "number");
    client.send({ type: PacketType.ACK, nsp, id, data: answer });
    await client.expect(event(nsp, "answered", true, ...answer));
    assert.deepStrictEqual(asked, withoutId(read(new Encoder().encode(event(nsp, "question", ...question)))));
  },

  async "a disconnection, and a connection with a payload"(client, nsp, make) {
    client.send({ type: PacketType.DISCONNECT, nsp });
    // The reference leaves a moment later, and would leave what was joined meanwhile.
    const other = nsp === "/" ? "/custom" : "/";
    client.send({ ...event(other, "ack"), id: 0 });
    await client.expect({ type: PacketType.ACK, nsp: other, id: 0, data: [] });
    await client.join(nsp, make(0, WHOLE_PIECES).object());
  },
};

function withoutId({ id, ...packet }) {
  return packet;
}

test(`m35 ${PACKETS} random packets are to the server what they are to socket io-parser`, async (t) => {
  t.diagnostic(`SEED=${SEED}`);
  const random = randomOf(SEED);
  const client = new Client(server.url);
  t.after(() => client.close());
  await client.open();
  await client.join("/");
  await client.join("/custom");
  const make = (attachments, pieces) => {
    return new Arguments(random, attachments ?? random(ATTACHMENTS_MAX + 1), pieces);
  };
  const names = Object.keys(EXCHANGES);
  for (let number = 0; number < PACKETS; number++) {
    const name = names[random(names.length)];
    const nsp = random(2) === 0 ? "/" : "/custom";
    try {
      await EXCHANGES[name](client, nsp, make, random);
    } catch (error) {
      error.message = `SEED=${SEED}, packet ${number}, ${name} in ${nsp}: ${error.message}`;
      throw error;
    }
  }
});

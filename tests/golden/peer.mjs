// A client that says exactly the bytes it is told to, over HTTP/1.1 and WebSocket, with a deadline
// on all it waits for. Nothing between the probes and the server repairs anything.
import { connect } from "node:net";

/** What has not come by then does not come. */
const DEADLINE_MS = 5_000;

/** Says that nothing came in the time that was given for it. */
export const NOTHING = Symbol("nothing");

/** One TCP connection. */
export class Connection {
  #socket;
  #received = Buffer.alloc(0);
  #ended = false;
  #changed = () => {};

  static async open(origin) {
    const { hostname, port } = new URL(origin);
    const connection = new Connection();
    await connection.#connect(hostname, Number(port));
    return connection;
  }

  #connect(host, port) {
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port, noDelay: true });
      this.#socket = socket;
      const end = () => {
        this.#ended = true;
        this.#changed();
      };
      socket.once("connect", resolve);
      // A reset is an end like any other: what came before it was read.
      socket.on("error", (error) => (reject(error), end()));
      socket.on("end", end);
      socket.on("close", end);
      socket.on("data", (chunk) => {
        this.#received = Buffer.concat([this.#received, chunk]);
        this.#changed();
      });
    });
  }

  send(bytes) {
    if (!this.#socket.destroyed) this.#socket.write(bytes);
  }

  /** Ends without a word, whatever the other side is doing. */
  destroy() {
    this.#socket.destroy();
  }

  /**
   * What `read` makes of the bytes that have come: it is given them, and whether they are all, and
   * answers `{ value, length }` once there are enough of them. `null` when the connection has ended
   * before, and NOTHING when nothing came within `quietMs`.
   */
  async take(read, quietMs) {
    const until = performance.now() + (quietMs ?? DEADLINE_MS);
    for (;;) {
      const taken = read(this.#received, this.#ended);
      if (taken) {
        this.#received = this.#received.subarray(taken.length);
        return taken.value;
      }
      if (this.#ended) return null;
      const leftMs = until - performance.now();
      if (leftMs <= 0 && quietMs !== undefined) return NOTHING;
      if (leftMs <= 0) throw new Error(`no answer within ${DEADLINE_MS} ms`);
      await this.#change(leftMs);
    }
  }

  /** Waits until the other side has ended the connection too; answers whether it has. */
  async ends(withinMs) {
    return (await this.take(() => undefined, withinMs)) === null;
  }

  #change(withinMs) {
    return new Promise((resolve) => {
      const late = setTimeout(resolve, withinMs);
      this.#changed = () => {
        clearTimeout(late);
        resolve();
      };
    });
  }
}

/**
 * Reads one HTTP response to a request of this method: `{ status, code, headers, body }`, where
 * headers is a list of names in lower case with their values, and the body is without its framing.
 */
export function response(method) {
  return (received, ended) => {
    const headEnd = received.indexOf("\r\n\r\n");
    if (headEnd < 0) return undefined;
    const [statusLine, ...lines] = received.toString("latin1", 0, headEnd).split("\r\n");
    const headers = lines.map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    });
    const status = statusLine.replace(/^HTTP\/1\.1 /, "");
    const code = Number(status.slice(0, 3));
    const start = headEnd + 4;
    const value = { status, code, headers, body: Buffer.alloc(0) };
    if (method === "HEAD" || code < 200 || code === 204 || code === 304) return { value, length: start };
    const body = framed(received.subarray(start), new Map(headers), ended);
    return body && { value: { ...value, body: body.value }, length: start + body.length };
  };
}

function framed(bytes, headers, ended) {
  if (headers.get("transfer-encoding") === "chunked") return chunks(bytes);
  if (headers.has("content-length")) {
    const length = Number(headers.get("content-length"));
    return bytes.length >= length ? { value: bytes.subarray(0, length), length } : undefined;
  }
  return ended ? { value: bytes, length: bytes.length } : undefined;
}

function chunks(bytes) {
  const parts = [];
  let at = 0;
  for (;;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) return undefined;
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    const end = lineEnd + 2 + size;
    if (bytes.length < end + 2) return undefined;
    if (size === 0) return { value: Buffer.concat(parts), length: end + 2 };
    parts.push(bytes.subarray(lineEnd + 2, end));
    at = end + 2;
  }
}

/** Reads one frame of a server: `{ first, payload }`. */
export function readFrame(received) {
  if (received.length < 2) return undefined;
  let [length, start] = [received[1], 2];
  if (length === 126) {
    if (received.length < 4) return undefined;
    [length, start] = [received.readUInt16BE(2), 4];
  } else if (length === 127) {
    if (received.length < 10) return undefined;
    [length, start] = [Number(received.readBigUInt64BE(2)), 10];
  }
  const end = start + length;
  if (received.length < end) return undefined;
  return { value: { first: received[0], payload: received.subarray(start, end) }, length: end };
}

const MASK = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

/** The least number of bytes in which a length is written: 0, 2 or 8 behind the first. */
function lengthBytes(length) {
  if (length < 126) return 0;
  return length < 65_536 ? 2 : 8;
}

/**
 * One frame of a client: its first byte, its payload, whether it is masked, in how many bytes its
 * length is written, and which length it says it has.
 */
export function frame({ first = 0x81, payload = "", hex, masked = true, size, declared }) {
  const bytes = hex === undefined ? Buffer.from(payload) : Buffer.from(hex, "hex");
  const length = BigInt(declared ?? bytes.length);
  const written = size ?? lengthBytes(Number(length));
  const head = Buffer.alloc(2 + written);
  head[0] = first;
  head[1] = { 0: Number(length), 2: 126, 8: 127 }[written] | (masked ? 0x80 : 0);
  if (written === 2) head.writeUInt16BE(Number(length), 2);
  if (written === 8) head.writeBigUInt64BE(length, 2);
  if (!masked) return Buffer.concat([head, bytes]);
  const hidden = bytes.map((byte, index) => byte ^ MASK[index % 4]);
  return Buffer.concat([head, MASK, hidden]);
}

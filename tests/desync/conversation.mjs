// One connection on which everything is said at once, and what is answered until it ends.
import net from "node:net";

const DEADLINE_MS = 20_000;

/** Sends bytes, and gives the responses when the peer has ended the connection. */
export function converse(port, bytes) {
  return new Promise((resolve, reject) => {
    const pieces = [];
    const socket = net.connect(port, "127.0.0.1", () => socket.write(bytes));
    const done = () => resolve(responses(Buffer.concat(pieces).toString("latin1")));
    socket.setTimeout(DEADLINE_MS, () => {
      socket.destroy();
      reject(new Error(`the connection stays open behind ${JSON.stringify(bytes.toString("latin1"))}`));
    });
    socket.on("data", (piece) => pieces.push(piece));
    socket.on("end", () => socket.end());
    // A reset comes where the peer has closed before it has read everything.
    socket.on("error", () => {});
    socket.on("close", done);
  });
}

/** The body of a GET that is alone on its connection. */
export async function get(port, target) {
  const request = `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
  const [{ body }] = await converse(port, Buffer.from(request));
  return body;
}

function responses(text) {
  const found = [];
  let rest = text;
  while (rest) {
    const end = rest.indexOf("\r\n\r\n");
    const line = /^HTTP\/1\.[01] (\d{3})/.exec(rest);
    if (!line || end < 0) {
      // HTTP/0.9 has no head: all is body.
      found.push({ status: 0, body: rest });
      break;
    }
    const head = rest.slice(0, end + 2);
    const [body, behind] = bodyOf(head, rest.slice(end + 4));
    if (line[1] !== "100") found.push({ status: Number(line[1]), body });
    rest = behind;
  }
  return found;
}

/** The body at the beginning of what follows a head, and what follows the body. */
function bodyOf(head, text) {
  const length = /\r\ncontent-length: *(\d+)\r\n/i.exec(head);
  if (length) return [text.slice(0, Number(length[1])), text.slice(Number(length[1]))];
  if (!/\r\ntransfer-encoding: *chunked\r\n/i.test(head)) return [text, ""];
  let body = "";
  let rest = text;
  for (;;) {
    const size = parseInt(rest, 16);
    const start = rest.indexOf("\r\n") + 2;
    if (!size) return [body, rest.slice(start + 2)];
    body += rest.slice(start, start + size);
    rest = rest.slice(start + size + 2);
  }
}

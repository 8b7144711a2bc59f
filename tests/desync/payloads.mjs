// The payloads of payloads.txt, which says how they are written.
import { readFileSync } from "node:fs";

const SMUGGLED = "GET /smuggled-{id} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n";
const ESCAPES = { r: "\r", n: "\n", t: "\t", "\\": "\\" };

/** All of them, numbered. */
export function payloads() {
  const text = readFileSync(new URL("payloads.txt", import.meta.url), "utf8");
  let group;
  const found = [];
  for (const line of text.split("\n").filter((line) => line && !line.startsWith("#"))) {
    if (line.startsWith("== ")) {
      group = line.split(" ")[1];
      continue;
    }
    const [statuses, ...rest] = line.split(" ");
    const id = found.length + 1;
    const answers = statuses === "-" ? [] : statuses.split(",").map(Number);
    found.push({ id, group, answers, isServed: statuses === "200", text: rest.join(" ") });
  }
  return found;
}

/** The bytes of a payload for the server at `path`. Targets tell which payload they are of. */
export function bytesOf({ id, text }, path) {
  const smuggled = SMUGGLED.replace("{id}", id);
  const { length } = unescaped(smuggled);
  const written = text
    .replace(/\{([^{}]*)\*(\d+)\}/g, (_, each, count) => each.repeat(Number(count)))
    .replaceAll("{smuggled.length.hex}", length.toString(16))
    .replaceAll("{smuggled.length}", length)
    .replaceAll("{smuggled}", smuggled)
    .replaceAll("{target}", `/payload-${id}`)
    .replaceAll("{path}", path);
  return unescaped(written);
}

function unescaped(text) {
  const plain = text.replace(/\\(?:x([0-9a-f]{2})|(.))/g, (_, hex, letter) => {
    return hex ? String.fromCharCode(parseInt(hex, 16)) : ESCAPES[letter];
  });
  return Buffer.from(plain, "latin1");
}

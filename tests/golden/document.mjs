// Writes docs/differences.md from what is recorded: `node tests/golden/document.mjs`.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { probes } from "./probes.mjs";
import { recorded } from "./servers.mjs";

const target = new URL("../../docs/differences.md", import.meta.url);

const INTRODUCTION = `# Where fanfare differs from Socket.IO on Node.js

For those who move a server from Node.js. Names, options, defaults, disconnect reasons and what clients see on the wire
are those of npm \`socket.io\` 4.8.4; this page has every difference there is on purpose, with its reason. Official
clients notice none of them.

It is written by \`node tests/golden/document.mjs\`, and checked: COUNT probes, from bare bytes on a socket to whole
upgrades, are sent to both servers by \`tests/golden\`. REST of them are answered byte for byte alike, leaving out ids,
dates, and how the end of an HTTP body is told. The others are those in the tables below, and are answered exactly as
these say. \`disconnect:\` is what the application is told, \`open\` a connection that goes on.
`;

/** The text of the page. */
export function page() {
  const { answers } = recorded("expected.json");
  const { reasons, rows, others } = recorded("differences.json");
  const differing = Object.keys(rows).length;
  const introduction = INTRODUCTION.replace("COUNT", probes.length).replace(
    "REST",
    probes.length - differing,
  );
  const chapters = Object.entries(reasons).map(([id, { title, why }]) => {
    const named = probes.filter(({ name }) => rows[name]?.reason === id);
    const lines = named.map(({ name }) => row(name, answers[name], rows[name].answer));
    return [`## ${title}`, why, table("sent", lines)].join("\n\n");
  });
  const rest = others.map(({ what, node, here, why }) => `| ${what} | ${node} | ${here} | ${why} |`);
  const last = [
    "## What no probe shows",
    ["| what | Node.js | fanfare | why |", "|---|---|---|---|", ...rest].join("\n"),
  ].join("\n\n");
  return `${[introduction.trimEnd(), ...chapters, last].join("\n\n")}\n`;
}

/** The page as it is in the repository; empty where there is none. */
export function committed() {
  try {
    return readFileSync(target, "utf8");
  } catch {
    return "";
  }
}

function table(what, lines) {
  return [`| ${what} | Node.js | fanfare |`, "|---|---|---|", ...lines].join("\n");
}

function row(name, node, here) {
  return `| ${escaped(name)} | ${cell(node)} | ${cell(here)} |`;
}

function cell(answer) {
  const lines = answer.flatMap((line) => (/^\d{3} /.test(line) ? line.split("\n") : [line]));
  return lines.filter((line) => line !== "").map((line) => `\`${escaped(line)}\``).join("<br>");
}

/** Text that neither ends a cell nor is invisible in it. */
function escaped(text) {
  const hex = (character) => character.charCodeAt(0).toString(16).padStart(2, "0");
  const visible = text.replace(/[\0-\x1f\x7f]/g, (character) => `\\x${hex(character)}`);
  return visible.replaceAll("|", "\\|");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(target, page());
}

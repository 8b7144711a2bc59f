// That the contract test finds what it looks for: `node --test`, after `run --install ws-plain`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Report, checkCommand } from "../contract.mjs";
import { setMessageDeadline } from "./deadline.mjs";

const FAULTY = fileURLToPath(new URL("faulty.mjs", import.meta.url));

/** A fault of the server, and the one rule among those it breaks that must name it. */
const FOUND_BY = [
  ["ends at once", /it says when it listens/],
  ["is started by another", /what was started is the server/],
  ["compresses", /compression/],
  ["cuts long echoes", /an echo comes back as it was sent/],
  ["echoes twice", /many echoes under way/],
  ["leaves out the sender", /a publish reaches everybody once, its sender too/],
  ["sends binary messages", /a publish reaches everybody/],
  ["takes a room for everybody", /its members once and nobody else/],
  ["lets only members publish", /when the sender is none/],
  ["loses", /publishes arrives complete and in order/],
  ["repeats", /publishes arrives complete and in order/],
  ["reorders", /publishes to a room arrives complete and in order/],
  ["damages", /publishes arrives complete and in order/],
  ["closes a room that one leaves", /a client that leaves/],
  ["writes about each message", /it writes nothing else/],
  ["ignores SIGTERM", /SIGTERM/],
  ["dies of SIGTERM", /SIGTERM/],
  ["ends with a status", /SIGTERM/],
];

setMessageDeadline(500);

async function check(fault) {
  const lines = [];
  const report = new Report((line) => lines.push(line));
  await checkCommand([process.execPath, FAULTY, fault], "websocket", report);
  return { broken: report.broken, text: lines.join("\n") };
}

test("a server without a fault keeps every rule", async () => {
  const { broken, text } = await check("none");
  assert.deepEqual(broken, [], text);
});

for (const [fault, rule] of FOUND_BY) {
  test(`a server that ${fault} is found out`, async () => {
    const { broken, text } = await check(fault);
    assert.ok(broken.some((each) => rule.test(each)), text);
  });
}

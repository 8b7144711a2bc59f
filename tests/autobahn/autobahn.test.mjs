// What Autobahn|Testsuite says of `examples/websocket_echo`, case by case: a case that does not
// end as `expectations.txt` says is a failure. `BLESS=1` writes that file anew, for the cases that
// were run. Those of compression take a quarter of an hour and are run with `AUTOBAHN=all`.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { test } from "node:test";
import { startCommand } from "../clients/server.js";
import { findPython, install, run } from "./suite.mjs";

const EXPECTATIONS = new URL("expectations.txt", import.meta.url);
/** What may be expected at all: not NON-STRICT, and not UNIMPLEMENTED. */
const GOOD = ["OK", "INFORMATIONAL"];
/** The groups of cases of compression, of 18 cases each. */
const COMPRESSION = ["12.1", "12.2", "12.3", "12.4", "12.5", "13.1", "13.2", "13.3", "13.4", "13.5", "13.6", "13.7"];
/** In these the suite only looks at what a server does. */
const LEFT_OPEN = ["7.1.6", "7.13.1", "7.13.2"];

const python = findPython();
const noPython = python ? false : "no Python 2.7 was found, for which Autobahn is written (pyenv has one)";
const ofMinutes = noPython || (process.env.AUTOBAHN === "all" ? false : "it takes minutes: `make autobahn`");

test("m22 m23 m24 Autobahn 1 to 7, 9 and 10: framing, UTF-8, closing, limits", { skip: noPython }, async () => {
  await passes("framing", "none", ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"], 301);
});

test("m22 Autobahn 12 and 13: compression", { skip: ofMinutes, concurrency: availableParallelism() }, async (t) => {
  // Messages each by itself, and with the earlier ones in mind. What is run for minutes is told piece by piece.
  const runs = ["none", "kept"].flatMap((contexts) => COMPRESSION.map((group) => [contexts, group]));
  await Promise.all(runs.map(([contexts, group]) => {
    return t.test(`${group}.*, contexts: ${contexts}`, () => passes(`${contexts}-${group}`, contexts, [`${group}.*`], 18));
  }));
});

async function passes(agent, contexts, cases, count) {
  install(python);
  const program = process.env.FANFARE_SERVER ?? "target/release/examples/websocket_echo";
  const server = await startCommand([program], "--per-message-deflate", contexts);
  try {
    const outcomes = await run(python, agent, `ws://127.0.0.1:${server.port}/`, cases);
    assert.equal(outcomes.length, count, "as many cases were run as there are");
    if (process.env.BLESS) {
      bless(outcomes);
    }
    judge(outcomes);
  } finally {
    await server.stop();
  }
}

function judge(outcomes) {
  const expected = expectations();
  const wrong = outcomes.filter(({ name, behavior, behaviorClose }) => {
    const isGood = [behavior, behaviorClose].every((each) => GOOD.includes(each));
    const isOpen = behavior !== "INFORMATIONAL" || LEFT_OPEN.includes(name);
    return !isGood || !isOpen || expected.get(name) !== `${behavior} ${behaviorClose}`;
  });
  const line = ({ name, behavior, behaviorClose, report }) => {
    return `${name}: ${behavior} ${behaviorClose}, expected ${expected.get(name)}: ${report}`;
  };
  assert.deepEqual(wrong.map(line), []);
}

/** How each case ends: the behaviour, and that of the closing handshake. */
function expectations() {
  const lines = readFileSync(EXPECTATIONS, "utf8").trim().split("\n").filter(Boolean);
  return new Map(lines.map((line) => [line.split(" ", 1)[0], line.slice(line.indexOf(" ") + 1)]));
}

function bless(outcomes) {
  const all = expectations();
  outcomes.forEach(({ name, behavior, behaviorClose }) => all.set(name, `${behavior} ${behaviorClose}`));
  const parts = (name) => name.split(".").map(Number);
  const order = ([a], [b]) => parts(a).map((part, i) => part - parts(b)[i]).find(Boolean) ?? 0;
  const lines = [...all].sort(order).map(([name, outcome]) => `${name} ${outcome}\n`);
  writeFileSync(EXPECTATIONS, lines.join(""));
}

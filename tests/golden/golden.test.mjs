// Both servers answer as recorded: `FANFARE_SERVER=target/release/examples/golden node --test
// tests/golden/golden.test.mjs`, with FANFARE_SERVER as in tests/clients/FIXTURE.md.
import assert from "node:assert/strict";
import { test } from "node:test";
import { committed, page } from "./document.mjs";
import { probes } from "./probes.mjs";
import { answersOf, hasReference, recorded, reference } from "./servers.mjs";
import { commandLine } from "../clients/server.js";

const expected = recorded("expected.json").answers;
const differences = recorded("differences.json");

/** Compares answers one by one, so that all that are wrong are told. */
async function compare(t, answers, wanted) {
  for (const { name } of probes.filter(({ name }) => name in answers)) {
    await t.test(name, () => assert.deepEqual(answers[name], wanted(name)));
  }
}

test("every probe has a name of its own, and an answer of the reference", () => {
  const names = probes.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  assert.deepEqual(Object.keys(expected), names);
});

test("every difference is one, is of a probe, and has a reason", () => {
  const used = new Set();
  for (const [name, { reason, answer }] of Object.entries(differences.rows)) {
    assert.ok(name in expected, `${name} is no probe`);
    assert.ok(reason in differences.reasons, `${name} has no reason`);
    assert.notDeepEqual(answer, expected[name], `${name} is no difference`);
    used.add(reason);
  }
  assert.deepEqual([...used].sort(), Object.keys(differences.reasons).sort());
});

test("the page about differences is current", () => {
  assert.ok(committed() === page(), "run `node tests/golden/document.mjs` and commit it");
});

test("m10 m17 m33 fanfare answers as the reference, but for the differences", async (t) => {
  const answers = await answersOf(commandLine(new URL("reference.mjs", import.meta.url)));
  assert.equal(Object.keys(answers).length, probes.length);
  const wanted = (name) => differences.rows[name]?.answer ?? expected[name];
  const isReference = process.env.FANFARE_SERVER === "reference";
  await compare(t, answers, isReference ? (name) => expected[name] : wanted);
});

test("the reference answers as it did when it was recorded", { skip: !hasReference }, async (t) => {
  await compare(t, await answersOf(reference), (name) => expected[name]);
});

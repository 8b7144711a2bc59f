// The chat example as two people use it, in a real browser. FANFARE_SERVER is the command that
// starts the example, `--listen` and `--shards` are appended; `reference` stands for reference.js.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startServerOr } from "../clients/server.js";
import { launch } from "./chromium.js";

const SCREENSHOT = fileURLToPath(new URL("../artefacts/chat.png", import.meta.url));

const server = await startServerOr(new URL("reference.js", import.meta.url));
const { browser, close } = await launch();
after(async () => {
  await close();
  await server.stop();
});

/** A tab with the chat in it, and what went wrong in it. */
async function openTab(t, query = "") {
  const tab = await browser.newPage();
  const errors = [];
  tab.on("pageerror", (error) => errors.push(error.message));
  tab.on("console", (line) => line.type() === "error" && errors.push(line.text()));
  t.after(() => tab.close());
  await tab.goto(`${server.url}/${query}`);
  await says(tab, "state", "connected");
  return { tab, errors };
}

/** Waits until the element with this test id shows this text. */
async function says(tab, id, text) {
  await tab.getByTestId(id).filter({ hasText: text }).waitFor();
}

/** Waits until the element with this test id shows this text no longer. */
async function saysNoMore(tab, id, text) {
  await tab.getByTestId(id).filter({ hasText: text }).waitFor({ state: "hidden" });
}

async function enter(tab, name, room) {
  await tab.getByTestId("name").fill(name);
  await tab.getByTestId("room").fill(room);
  await tab.getByTestId("join").click();
  await says(tab, "members", name);
}

async function send(tab, text) {
  await tab.getByTestId("message-input").fill(text);
  await tab.getByTestId("send").click();
}

/** How often this text stands in the messages. */
const countOf = (tab, text) => tab.getByTestId("messages").getByText(text, { exact: true }).count();

/** Two people in one room talk; each sees everything of the other, once. */
async function conversation(t, room, query, transport) {
  const said = ["Hello Brook, can you hear me? ☃", "Loud and clear, <b>Ada</b>", "Then in tune."];
  const [hello, answer, last] = said;
  const { tab: ada, errors: adaErrors } = await openTab(t, query);
  const { tab: brook, errors: brookErrors } = await openTab(t, query);
  for (const tab of [ada, brook]) await says(tab, "transport", transport);
  await enter(ada, "Ada", room);
  await enter(brook, "Brook", room);
  for (const tab of [ada, brook]) {
    await says(tab, "members", "Ada");
    await says(tab, "members", "Brook");
  }

  await ada.getByTestId("message-input").pressSequentially("Hello");
  await says(brook, "typing", "Ada");
  await send(ada, hello);
  await says(brook, "messages", hello);
  await saysNoMore(brook, "typing", "Ada");

  await send(brook, answer);
  await says(ada, "messages", answer);
  await send(ada, last);
  await says(brook, "messages", last);
  for (const tab of [ada, brook]) {
    for (const text of said) assert.equal(await countOf(tab, text), 1, text);
    assert.equal(await tab.getByTestId("transport").textContent(), transport);
  }
  return { ada, brook, errors: [adaErrors, brookErrors] };
}

test("two people chat over WebSocket", async (t) => {
  const { ada, brook, errors } = await conversation(t, "lobby", "", "websocket");
  await brook.bringToFront();
  mkdirSync(join(SCREENSHOT, ".."), { recursive: true });
  await brook.screenshot({ path: SCREENSHOT, animations: "disabled" });
  await ada.close();
  await saysNoMore(brook, "members", "Ada");
  assert.deepEqual(errors, [[], []]);
});

test("two people chat over polling only", async (t) => {
  const { errors } = await conversation(t, "slow", "?transport=polling", "polling");
  assert.deepEqual(errors, [[], []]);
});

test("what is said in one room stays in it, and who comes later finds it there", async (t) => {
  const { tab: ada } = await openTab(t);
  const { tab: brook } = await openTab(t, "?transport=polling");
  const { tab: cleo } = await openTab(t);
  await enter(ada, "Ada", "brass");
  await enter(brook, "Brook", "strings");
  await send(ada, "for the brass");
  await send(brook, "for the strings");
  await says(brook, "messages", "for the strings");
  await enter(cleo, "Cleo", "strings");
  await says(cleo, "messages", "for the strings");
  await says(brook, "members", "Cleo");
  assert.equal(await countOf(brook, "for the brass"), 0);
  assert.equal(await countOf(cleo, "for the brass"), 0);
  assert.equal(await cleo.getByTestId("members").getByText("Ada").count(), 0);
});

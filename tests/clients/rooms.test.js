// Who gets a broadcast, that each gets it once, and in order.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Inbox, TRANSPORTS, connected, numbered, request, upgraded } from "./client.js";
import { startServer } from "./server.js";

const server = await startServer();
after(() => server.stop());

const MEMBERS = ["polling", "websocket", "upgrade"];

/**
 * A client of each kind in the namespace, by name, that notes what it receives: `news` is what the
 * tests send, `fence` ends the waiting of those who must receive nothing.
 */
async function crowd(t, names, namespace = "/") {
  const members = {};
  for (const name of names) {
    const socket = await connected(t, server.url + namespace, TRANSPORTS[name.split("-")[0]]);
    if (name === "upgrade") await upgraded(socket);
    members[name] = { socket, news: new Inbox(socket, "news"), fence: new Inbox(socket, "fence") };
  }
  return members;
}

/** What each member got once everything that was sent before has arrived. */
async function received(sender, members) {
  await request(sender.socket, "in", [], [], "fence", null);
  const seen = {};
  for (const [name, { news, fence }] of Object.entries(members)) {
    await fence.take();
    seen[name] = news.drain().map(([payload]) => payload);
  }
  return seen;
}

const join = (member, ...rooms) =>
  Promise.all(rooms.map((room) => request(member.socket, "join", room)));

for (const sender of MEMBERS) {
  const others = MEMBERS.filter((name) => name !== sender);
  const crowded = async (t) => {
    const members = await crowd(t, MEMBERS);
    const [one, two] = others.map((name) => members[name]);
    return { members, from: members[sender], one, two };
  };

  test(`b24_1 b34_1 an emit to a namespace reaches all of its sockets (${sender})`, async (t) => {
    const { members, from } = await crowded(t);
    await request(from.socket, "in", [], [], "news", "all");
    const all = { polling: ["all"], websocket: ["all"], upgrade: ["all"] };
    assert.deepEqual(await received(from, members), all);
  });

  test(`b24_3 a broadcast skips the sender (${sender})`, async (t) => {
    const { members, from } = await crowded(t);
    await request(from.socket, "to", [], [], "news", "others");
    assert.deepEqual(await received(from, members), {
      [sender]: [],
      [others[0]]: ["others"],
      [others[1]]: ["others"],
    });
  });

  test(`b24_4 an emit to rooms reaches members only (${sender})`, async (t) => {
    const { members, from, one } = await crowded(t);
    await join(from, "a");
    await join(one, "b");
    await request(from.socket, "in", ["a", "b", "empty"], [], "news", 1);
    await request(from.socket, "in", ["b"], [], "news", 2);
    await request(from.socket, "in", ["empty"], [], "news", 3);
    assert.deepEqual(await received(from, members), {
      [sender]: [1],
      [others[0]]: [1, 2],
      [others[1]]: [],
    });
  });

  test(`b24_4 a socket that left a room gets no more of it (${sender})`, async (t) => {
    const { members, from, one, two } = await crowded(t);
    for (const member of [from, one, two]) await join(member, "a");
    await request(one.socket, "leave", "a");
    await request(from.socket, "leave", "a");
    await request(from.socket, "in", ["a"], [], "news", 1);
    await join(from, "a");
    await request(from.socket, "in", ["a"], [], "news", 2);
    assert.deepEqual(await received(from, members), {
      [sender]: [2],
      [others[0]]: [],
      [others[1]]: [1, 2],
    });
  });

  test(`b24_5 a socket in two targeted rooms gets one copy (${sender})`, async (t) => {
    const { members, from, one, two } = await crowded(t);
    for (const member of [from, one, two]) await join(member, "a", "b", "c");
    await request(from.socket, "in", ["a", "b", "c"], [], "news", "once");
    await request(from.socket, "in", ["a", "a"], [], "news", "also once");
    const both = ["once", "also once"];
    const all = { polling: both, websocket: both, upgrade: both };
    assert.deepEqual(await received(from, members), all);
  });

  test(`b24_6 a broadcast to rooms skips the sender (${sender})`, async (t) => {
    const { members, from, one } = await crowded(t);
    await join(from, "a");
    await join(one, "a", "b");
    await request(from.socket, "to", ["a", "b"], [], "news", 1);
    assert.deepEqual(await received(from, members), {
      [sender]: [],
      [others[0]]: [1],
      [others[1]]: [],
    });
  });

  test(`b24_2 b24_7 a binary broadcast to rooms and to all (${sender})`, async (t) => {
    const { members, from, one, two } = await crowded(t);
    for (const member of [from, one, two]) await join(member, "a");
    const payload = { text: "☃", binary: [Buffer.from([0, 255]), Buffer.alloc(0)] };
    await request(from.socket, "to", ["a"], [], "news", Buffer.from([1, 2, 3]));
    await request(from.socket, "in", [], [], "news", payload);
    assert.deepEqual(await received(from, members), {
      [sender]: [payload],
      [others[0]]: [Buffer.from([1, 2, 3]), payload],
      [others[1]]: [Buffer.from([1, 2, 3]), payload],
    });
  });

  test(`b24_12 b26_25 single sockets are excluded, by their id (${sender})`, async (t) => {
    const { members, from, one, two } = await crowded(t);
    await request(from.socket, "in", [], [one.socket.id], "news", 1);
    await request(from.socket, "to", [], [one.socket.id, two.socket.id], "news", 2);
    await request(from.socket, "in", [one.socket.id], [], "news", "private");
    assert.deepEqual(await received(from, members), {
      [sender]: [1],
      [others[0]]: ["private"],
      [others[1]]: [1],
    });
  });

  test(`b24_13 b26_27 a room is excluded (${sender})`, async (t) => {
    const { members, from, one, two } = await crowded(t);
    await join(one, "a", "b");
    await join(two, "a");
    await request(from.socket, "in", ["a"], ["b"], "news", 1);
    await request(from.socket, "in", [], ["b", "empty"], "news", 2);
    assert.deepEqual(await received(from, members), {
      [sender]: [2],
      [others[0]]: [],
      [others[1]]: [1, 2],
    });
  });

  test(`b24_15 a broadcast with acks collects every answer (${sender})`, async (t) => {
    const { members, from } = await crowded(t);
    for (const [name, member] of Object.entries(members)) {
      await join(member, "survey");
      member.socket.on("question", (payload, ack) => ack({ name, payload }));
    }
    const payload = Buffer.from([7]);
    const [complete, answers] = await request(from.socket, "survey", 5_000, ["survey"], payload);
    assert.equal(complete, true);
    const byName = (a, b) => a.name.localeCompare(b.name);
    assert.deepEqual(answers.sort(byName), [...MEMBERS].sort().map((name) => ({ name, payload })));
  });

  test(`b24_16 missing answers give an error and the answers so far (${sender})`, async (t) => {
    const { from, one, two } = await crowded(t);
    for (const member of [from, one, two]) await join(member, "survey");
    from.socket.on("question", (payload, ack) => ack(`from ${payload}`));
    one.socket.on("question", (payload, ack) => ack(`one ${payload}`));
    // Long enough for the two who answer, on a busy machine too.
    const [complete, answers] = await request(from.socket, "survey", 500, ["survey"], 1);
    assert.equal(complete, false);
    assert.deepEqual(answers.sort(), ["from 1", "one 1"]);
  });
}

test("b24_1 b24_2 an emit to a namespace stays in it", async (t) => {
  const main = await crowd(t, MEMBERS);
  const custom = await crowd(t, MEMBERS, "/custom");
  await request(main.polling.socket, "in", [], [], "news", "main");
  await request(main.websocket.socket, "in", [], [], "news", Buffer.from("main"));
  await request(custom.upgrade.socket, "to", [], [], "news", "custom");
  const both = ["main", Buffer.from("main")];
  const expected = { polling: both, websocket: both, upgrade: both };
  assert.deepEqual(await received(main.polling, main), expected);
  assert.deepEqual(await received(custom.upgrade, custom), {
    polling: ["custom"],
    websocket: ["custom"],
    upgrade: [],
  });
});

test("b24_1 rooms of the same name in two namespaces are two rooms", async (t) => {
  const main = await crowd(t, ["polling", "websocket"]);
  const custom = await crowd(t, ["polling", "websocket"], "/custom");
  for (const member of [...Object.values(main), ...Object.values(custom)]) await join(member, "a");
  await request(main.polling.socket, "in", ["a"], [], "news", 1);
  assert.deepEqual(await received(main.polling, main), { polling: [1], websocket: [1] });
  assert.deepEqual(await received(custom.polling, custom), { polling: [], websocket: [] });
});

test("b26_26 a socket is excluded from another namespace", async (t) => {
  const main = await crowd(t, ["websocket"]);
  const custom = await crowd(t, MEMBERS, "/custom");
  const { id } = custom.polling.socket;
  await request(main.websocket.socket, "in-custom", [], [id], "news", 1);
  await request(main.websocket.socket, "in-custom", [], [], "fence", null);
  for (const [name, { news, fence: fenced }] of Object.entries(custom)) {
    await fenced.take();
    assert.deepEqual(news.drain(), name === "polling" ? [] : [[1]], name);
  }
});

test("b24_4 b24_5 many clients each get every message exactly once and in order", async (t) => {
  const names = [];
  for (let i = 0; i < 6; i++) names.push(`polling-${i}`, `websocket-${i}`);
  const members = await crowd(t, names);
  for (const member of Object.values(members)) await join(member, "a", "b");
  const sender = members["websocket-0"].socket;
  const COUNT = 300;
  for (const [i] of numbered(COUNT)) {
    const payload = i % 3 === 0 ? Buffer.from([i % 256]) : i;
    sender.emit("in", i % 2 ? ["a", "b"] : [], [], "news", payload);
  }
  const expected = numbered(COUNT).map(([i]) => [i % 3 === 0 ? Buffer.from([i % 256]) : i]);
  for (const [name, { news }] of Object.entries(members)) {
    assert.deepEqual(await news.take(COUNT), expected, name);
  }
  const nothing = Object.fromEntries(names.map((name) => [name, []]));
  assert.deepEqual(await received(members["websocket-0"], members), nothing);
});

test("b24_3 two senders at once: each one's messages stay in order for everybody", async (t) => {
  const members = await crowd(t, ["polling-0", "websocket-0", "polling-1", "websocket-1"]);
  const COUNT = 100;
  const senders = ["polling-0", "websocket-0"];
  for (const [i] of numbered(COUNT)) {
    for (const name of senders) members[name].socket.emit("to", [], [], "news", [name, i]);
  }
  for (const [receiver, { news }] of Object.entries(members)) {
    const heard = senders.filter((name) => name !== receiver);
    const taken = (await news.take(heard.length * COUNT)).map(([payload]) => payload);
    for (const name of heard) {
      const own = taken.filter(([who]) => who === name);
      assert.deepEqual(own, numbered(COUNT).map(([i]) => [name, i]), receiver);
    }
  }
});

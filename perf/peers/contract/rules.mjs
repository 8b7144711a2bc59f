// What the application does, as rules that one set of clients can try on either protocol.
//
// A rule takes `connect(count)`, which gives that many clients, and throws where it is broken.

/** Every rule, in the words that a report uses. */
export const RULES = [
  ["an echo comes back as it was sent, whatever its length", echoLengths],
  ["many echoes under way each come back once", echoesUnderWay],
  ["a publish reaches everybody once, its sender too", publishes],
  ["a room's publish reaches its members once and nobody else", roomPublishes],
  ["a room's publish reaches its members when the sender is none", roomPublishesOfOthers],
  ["what one client publishes arrives complete and in order", publishesInOrder],
  ["what one client publishes to a room arrives complete and in order", roomPublishesInOrder],
  ["a client that leaves is missed by nobody", leaving],
];

// Around the places where the length field of a WebSocket frame grows, with `E` and without.
const LENGTHS = [1, 48, 64, 120, 124, 125, 126, 127, 1024, 65_530, 65_535, 65_536, 100_000];
const UNDER_WAY = 100;
const IN_A_ROW = 100;
const ROUNDS_AFTER_LEAVING = 20;

async function echoLengths(connect) {
  for (const [index, client] of (await connect(3)).entries()) {
    for (const length of LENGTHS) {
      const sent = payload(length, length);
      same([await client.echo(sent)], [sent], `client ${index}, ${length} bytes`);
    }
  }
}

async function echoesUnderWay(connect) {
  const clients = await connect(3);
  const sent = clients.map((_, index) => series(UNDER_WAY, `client ${index} echo`));
  const echoed = (client, index) => Promise.all(sent[index].map((each) => client.echo(each)));
  for (const [index, came] of (await Promise.all(clients.map(echoed))).entries()) {
    same(came, sent[index], `client ${index}`);
  }
  await nothingElse(clients);
}

async function publishes(connect) {
  const clients = await connect(6);
  for (const [index, client] of clients.entries()) {
    client.publish(payload(64, `from client ${index}`));
    await received(clients, [payload(64, `from client ${index}`)]);
  }
  await nothingElse(clients);
}

async function roomPublishes(connect) {
  const [first, second, third, fourth, outsider] = await connect(5);
  await Promise.all([first.join("red"), second.join("red"), third.join("blue")]);
  await Promise.all([fourth.join("blue"), fourth.join("red")]);
  first.publishRoom("red", payload(64, "to red"));
  await received([first, second, fourth], [payload(64, "to red")]);
  third.publishRoom("blue", payload(64, "to blue"));
  await received([third, fourth], [payload(64, "to blue")]);
  first.publishRoom("empty", payload(64, "to nobody"));
  await nothingElse([first, second, third, fourth, outsider]);
}

async function roomPublishesOfOthers(connect) {
  const [member, outsider] = await connect(2);
  await member.join("room");
  outsider.publishRoom("room", payload(64, "from outside"));
  await received([member], [payload(64, "from outside")]);
  await nothingElse([member, outsider]);
}

async function publishesInOrder(connect) {
  const clients = await connect(6);
  const sent = series(IN_A_ROW, "publish");
  sent.forEach((each) => clients[0].publish(each));
  await received(clients, sent);
  await nothingElse(clients);
}

async function roomPublishesInOrder(connect) {
  const clients = await connect(6);
  const members = clients.slice(0, 3);
  await Promise.all(members.map((client) => client.join("room")));
  const sent = series(IN_A_ROW, "publish to the room");
  sent.forEach((each) => clients[0].publishRoom("room", each));
  await received(members, sent);
  await nothingElse(clients);
}

async function leaving(connect) {
  const [leaver, ...stayers] = await connect(4);
  await Promise.all([leaver, ...stayers].map((client) => client.join("room")));
  leaver.close();
  // Before, while and after the server notices: so many round trips outlast that.
  for (let round = 0; round < ROUNDS_AFTER_LEAVING; round += 1) {
    const sent = [payload(64, `${round} to all`), payload(64, `${round} to the room`)];
    stayers[0].publish(sent[0]);
    stayers[0].publishRoom("room", sent[1]);
    await received(stayers, sent);
  }
  await nothingElse(stayers);
}

/** Each client has been sent exactly these since it was last looked at, in this order. */
async function received(clients, expected) {
  await Promise.all(
    clients.map(async (client, index) => {
      same(await client.inbox.take(expected.length), expected, `client ${index}`);
    }),
  );
}

/** No client has been sent more: the next thing that comes is a publish that is made now. */
async function nothingElse(clients) {
  const last = payload(64, "the last of all");
  clients[0].publish(last);
  for (const [index, client] of clients.entries()) {
    same(await client.inbox.through(last), [last], `client ${index}`);
  }
}

/** So many payloads of 64 bytes, all different. */
function series(count, name) {
  return Array.from({ length: count }, (_, index) => payload(64, `${name} ${index}`));
}

/** As the load generator makes them: printable ASCII without `"` and `\`. */
export function payload(bytes, name) {
  let filler = "";
  for (let code = 0x20; code < 0x7f; code += 1) {
    filler += code === 0x22 || code === 0x5c ? "" : String.fromCharCode(code);
  }
  return `${name} `.padEnd(bytes, filler).slice(0, bytes);
}

/** Throws, saying how they differ, unless what came is what was expected. */
function same(came, expected, who) {
  const lost = expected.filter((each) => !came.includes(each));
  const strange = came.filter((each) => !expected.includes(each));
  const repeated = came.length - strange.length - (expected.length - lost.length);
  const early = came.filter((each, index) => each !== expected[index]).length;
  if (early > 0 || came.length !== expected.length) {
    const example = strange.length > 0 ? `, such as "${strange[0].slice(0, 40)}"` : "";
    throw new Error(
      `${who}: of ${expected.length} expected ${lost.length} lost, ${repeated} repeated, ` +
        `${early} out of place, ${strange.length} unexpected${example}`,
    );
  }
}

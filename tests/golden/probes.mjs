// What is sent to a server, row by row. README.md says what the words mean.

/** The options that servers are started with; a probe that names none gets the first. */
export const servers = {
  plain: {},
  "one origin": { cors: { origin: "http://ok.example" } },
  "two origins": {
    cors: {
      origin: ["http://ok.example", "https://two.example:8443"],
      methods: ["GET", "POST"],
      allowedHeaders: ["X-One", "x-two"],
      exposedHeaders: ["x-three"],
      credentials: true,
      maxAge: 600,
      optionsSuccessStatus: 200,
    },
  },
  "any origin": { cors: { origin: "*" } },
  "each origin": { cors: { origin: true, credentials: true } },
  cookie: { cookie: {} },
  "another cookie": {
    cookie: {
      name: "node",
      path: "/socket.io",
      httpOnly: false,
      sameSite: "none",
      maxAge: 3600,
      domain: "example.com",
      secure: true,
    },
  },
};

const POLLING = "/socket.io/?EIO=4&transport=polling";
const SESSION = `${POLLING}&sid={sid}`;
const WEBSOCKET = "/socket.io/?EIO=4&transport=websocket";
const UPGRADE = `${WEBSOCKET}&sid={sid}`;

const EVENT = '42["a"]';
const MESSAGE_BYTES_MAX = 1_000_000;

const KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION = "Sec-WebSocket-Version: 13";
const TO_WEBSOCKET = ["Connection: Upgrade", "Upgrade: websocket"];

const pong = { by: "pong" };
const together = { together: true };

/** Frames on a WebSocket. */
function frames(name, send, more) {
  return { name, send, ...more };
}

/** One request that belongs to no session. */
function ask(name, request, server) {
  return { name, server, steps: [{ ask: request }] };
}

/** A session on long-polling, that has joined "/", and what is done to it. */
function polling(name, ...steps) {
  return { name, steps: [{ open: true }, { join: true }, ...steps] };
}

/** A POST, and what a poll then gets. */
function post(name, request) {
  const poll = { ask: { target: SESSION } };
  return polling(name, { ask: { method: "POST", target: SESSION, ...request } }, poll, settle);
}

/** A WebSocket handshake for a new session. */
function handshake(name, request, server) {
  return { name, server, steps: [{ upgrade: "ws", request }, { hear: "ws", by: "pong" }] };
}

/** A handshake that both servers refuse, or that is not worth more than its head. */
function refused(name, request) {
  return { name, steps: [{ upgrade: "ws", request }] };
}

const settle = { settle: true };

const placeholder = (num) => `{"_placeholder":true,"num":${num}}`;
const binary = (text) => ({ first: 0x82, payload: text });
const nested = (depth) => "[".repeat(depth) + "]".repeat(depth);

const packets = [
  frames("empty text frame", [""]),
  frames("engine open", ["0"]),
  frames("engine close", ["1"]),
  frames("engine ping", ["2"]),
  frames("engine probe", ["2probe"]),
  frames("pong that was not asked for", ["3"]),
  frames("1,000 pongs", Array(1_000).fill("3"), together),
  frames("engine upgrade", ["5"]),
  frames("engine noop", ["6"]),
  frames("engine type 7", ["7"]),
  frames("engine type 9", ["9"]),
  frames("message without a packet", ["4"]),
  frames("CONNECT twice", ["40"]),
  frames("CONNECT with broken JSON", ["40{"]),
  frames("CONNECT with an array", ["40[]"]),
  frames("CONNECT with a string", ['40"a"']),
  frames("CONNECT to an unknown namespace", ["40/unknown,"]),
  frames("CONNECT to a namespace", ["40/admin,"], pong),
  frames("CONNECT to a namespace without a comma", ["40/admin"], pong),
  frames("CONNECT to a namespace with a query", ["40/admin?x=1,"]),
  frames("CONNECT to /__proto__", ["40/__proto__,"]),
  frames("CONNECT to a namespace with a NUL", ["40/a\0b,"]),
  frames("CONNECT to a namespace with a line end", ["40/a\r\nX: y,"]),
  frames("CONNECT to a namespace of 100,000 letters", [`40/${"a".repeat(100_000)},`]),
  frames("101 unknown namespaces", Array(101).fill("40/x,"), together),
  frames("DISCONNECT", ["41"], pong),
  frames("DISCONNECT, then an event", ["41", EVENT], pong),
  frames("an event and DISCONNECT at once", [EVENT, "41"], { ...together, ...pong }),
  frames("DISCONNECT of another namespace", ["41/admin,"]),
  frames("event in another namespace", ['42/admin,["a"]']),
  frames("event without payload", ["42"]),
  frames("event with an object", ["42{}"]),
  frames("event without a name", ["42[]"]),
  frames("event called null", ["42[null]"]),
  frames("event called 1", ["42[1,2]"]),
  frames("event called true", ["42[true]"]),
  frames("event called {}", ["42[{}]"]),
  frames("event that is cut off", ['42["a"']),
  frames("event with something behind it", ['42["a"]x']),
  frames("event called connect", ['42["connect"]']),
  frames("event called connect_error", ['42["connect_error"]']),
  frames("event called disconnect", ['42["disconnect"]']),
  frames("event called disconnecting", ['42["disconnecting"]']),
  frames("event called newListener", ['42["newListener"]']),
  frames("event called removeListener", ['42["removeListener"]']),
  frames("event called error", ['42["error",1]']),
  frames("event called __proto__", ['42["__proto__",1]']),
  frames("event with an empty name", ['42["",1]']),
  frames("event with a lone surrogate", ['42["a","\\ud800"]']),
  frames("event with JSON of depth 128", [`42["a",${nested(127)}]`]),
  frames("event with JSON of depth 20,000", [`42["deep",${nested(20_000)}]`]),
  frames("event with ack id 0", ['420["a"]']),
  frames("event with ack id 007", ['42007["a"]']),
  frames("event with an ack id of 20 digits", ['4299999999999999999999["a"]']),
  frames("ACK of an unknown id", ['4377["x"]']),
  frames("ACK without an id", ['43["x"]']),
  frames("ACK with an object", ["430{}"]),
  frames("CONNECT_ERROR", ['44{"message":"x"}']),
  frames("packet of type 7", ["47"]),
  frames("packet of type a", ["4a"]),
  frames("binary event without a dash", ['451["a"]']),
  frames("binary event with 0 attachments", ['450-["a"]']),
  frames("binary event with -1 attachments", ['45-1-["a"]']),
  frames("binary event with 10 attachments to come", ['4510-["a"]'], pong),
  frames("binary event with 11 attachments to come", ['4511-["a"]'], pong),
  frames("binary event", [`451-["a",${placeholder(0)}]`, binary("xyz")]),
  frames("binary event with an ack", [`451-7["a",${placeholder(0)}]`, binary("xyz")]),
  frames("text before the attachment", [`451-["a",${placeholder(0)}]`, EVENT], pong),
  frames("placeholder 1 of 1", [`451-["a",${placeholder(1)}]`, binary("xyz")]),
  frames("placeholder -1", [`451-["a",${placeholder(-1)}]`, binary("xyz")]),
  frames("placeholder 0.5", [`451-["a",${placeholder(0.5)}]`, binary("xyz")]),
  frames('placeholder "0"', [`451-["a",${placeholder('"0"')}]`, binary("xyz")]),
  frames('placeholder "splice"', [`451-["a",${placeholder('"splice"')}]`, binary("xyz")]),
  frames("attachment without a placeholder", ['451-["a"]', binary("xyz")]),
  frames("placeholder used twice", [
    `452-["a",${placeholder(0)},${placeholder(0)}]`,
    binary("x"),
    binary("y"),
  ]),
  frames("binary event with a wrong name", [`451-[${placeholder(0)}]`, binary("x")]),
  frames("binary event with JSON of depth 20,000", [
    `451-["deep",${nested(20_000)}]`,
    binary("x"),
  ]),
  frames("attachment of no packet", [binary("x")]),
  frames("empty attachment of no packet", [binary("")]),
];

const webSocketFrames = [
  frames("frame without a mask", [{ payload: EVENT, masked: false }]),
  frames("frame with RSV1", [{ first: 0xc1, payload: EVENT }]),
  frames("frame with RSV2", [{ first: 0xa1, payload: EVENT }]),
  frames("frame with opcode 3", [{ first: 0x83, payload: EVENT }]),
  frames("frame with opcode 11", [{ first: 0x8b, payload: EVENT }]),
  frames("ping of 125 bytes", [{ first: 0x89, payload: "p".repeat(125) }]),
  frames("ping of 126 bytes", [{ first: 0x89, payload: "p".repeat(126) }]),
  frames("ping in fragments", [{ first: 0x09, payload: "p" }]),
  frames("continuation of nothing", [{ first: 0x80, payload: "x" }]),
  frames("message within a message", [{ first: 0x01, payload: '42["a' }, { payload: EVENT }]),
  frames("message in fragments", [
    { first: 0x01, payload: '42["a",' },
    { first: 0x80, payload: '"b"]' },
  ]),
  frames("text that is not UTF-8", [{ hex: "34325b22ff225d" }]),
  frames("close frame", [{ first: 0x88 }]),
  frames("close frame with 1000", [{ first: 0x88, hex: "03e8" }]),
  frames("close frame of one byte", [{ first: 0x88, hex: "03" }]),
  frames("close frame with 1005", [{ first: 0x88, hex: "03ed" }]),
  frames("close frame with 999", [{ first: 0x88, hex: "03e7" }]),
  frames("close frame with 5000", [{ first: 0x88, hex: "1388" }]),
  frames("close frame with a reason that is not UTF-8", [{ first: 0x88, hex: "03e8ff" }]),
  frames("frame of 2^63 bytes", [{ declared: 2n ** 63n }]),
  frames("frame of 2^53 bytes", [{ declared: 2n ** 53n }]),
  frames("frame of 1,000,001 bytes", [{ declared: BigInt(MESSAGE_BYTES_MAX + 1) }]),
  frames("length in more bytes than needed", [{ payload: EVENT, size: 2 }]),
  frames("message of 1,000,000 bytes", [
    `42["a","${"x".repeat(MESSAGE_BYTES_MAX - '42["a",""]'.length)}"]`,
  ]),
];

const unconnected = { join: false, by: "pong" };

const beforeConnect = [
  frames("event before CONNECT", [EVENT], unconnected),
  frames("binary before CONNECT", [binary("x")], unconnected),
  frames("garbage before CONNECT", ["4garbage"], unconnected),
];

const requests = [
  ask("GET without transport", { target: "/socket.io/?EIO=4" }),
  ask("GET of transport foo", { target: "/socket.io/?EIO=4&transport=foo" }),
  ask("GET of transport __proto__", { target: "/socket.io/?EIO=4&transport=__proto__" }),
  ask("GET of transport constructor", { target: "/socket.io/?EIO=4&transport=constructor" }),
  ask("GET of EIO 3", { target: "/socket.io/?EIO=3&transport=polling" }),
  ask("GET of EIO 5", { target: "/socket.io/?EIO=5&transport=polling" }),
  ask("GET without EIO", { target: "/socket.io/?transport=polling" }),
  ask("GET of an unknown session", { target: `${POLLING}&sid=unknown` }),
  ask("GET of a session without a name", { target: `${POLLING}&sid=` }),
  ask("GET of session __proto__", { target: `${POLLING}&sid=__proto__` }),
  ask("POST without a session", { method: "POST", target: POLLING, body: "40" }),
  ask("OPTIONS", { method: "OPTIONS", target: POLLING }),
  ask("GET that opens a session", { target: POLLING }),
  ask("GET with JSONP", { target: `${POLLING}&j=0);alert(1)//` }),
  ask("header of 20,000 bytes", { target: POLLING, headers: [`X-Long: ${"a".repeat(20_000)}`] }),
  ask("target of 20,000 bytes", { target: `${POLLING}&x=${"a".repeat(20_000)}` }),
  polling("PUT to a session", { ask: { method: "PUT", target: SESSION } }),
  polling("DELETE to a session", { ask: { method: "DELETE", target: SESSION } }),
  polling("HEAD to a session", { ask: { method: "HEAD", target: SESSION } }),
  polling("PATCH to a session", { ask: { method: "PATCH", target: SESSION } }),
  polling("GET of another EIO than the session's", {
    ask: { target: "/socket.io/?EIO=3&transport=polling&sid={sid}" },
  }),
];

const posts = [
  post("POST of an event", { body: EVENT }),
  post("POST of no bytes", { body: "" }),
  post("POST that is not UTF-8", { hex: "34325b2261222c22ff225d" }),
  post("POST of an octet-stream", {
    headers: ["Content-Type: application/octet-stream"],
    body: EVENT,
  }),
  post("POST of broken base64", { body: "b!!!!" }),
  post("POST of engine type 9", { body: "9" }),
  post("POST of an event and engine type 9", { body: `${EVENT}\x1e9` }),
  post("POST of a ping", { body: "2" }),
  post("POST of engine close", { body: "1" }),
  polling(
    "POST of 1,000,001 bytes",
    { ask: { method: "POST", target: SESSION, body: "4".padEnd(MESSAGE_BYTES_MAX + 1, "x") } },
    { ask: { method: "POST", target: SESSION, body: EVENT } },
    { ask: { target: SESSION } },
  ),
  polling(
    "POST that says it has 1,000,001 bytes and sends none",
    {
      begin: "post",
      request: { method: "POST", target: SESSION, declared: MESSAGE_BYTES_MAX + 1 },
    },
    { answer: "post", quiet: true },
    { abort: "post" },
    settle,
  ),
  polling(
    "POST that breaks off",
    { begin: "post", request: { method: "POST", target: SESSION, body: EVENT, partial: 3 } },
    { abort: "post" },
    settle,
  ),
  polling(
    "second POST before the first has ended",
    { begin: "post", request: { method: "POST", target: SESSION, body: EVENT, partial: 3 } },
    { ask: { method: "POST", target: SESSION, body: EVENT } },
    { answer: "post", quiet: true },
    settle,
  ),
  polling(
    "two POSTs at once on one connection",
    {
      begin: "both",
      request: {
        pipelined: [
          { method: "POST", target: SESSION, body: EVENT, lines: [] },
          { method: "POST", target: SESSION, body: EVENT },
        ],
      },
    },
    { answer: "both", quiet: true },
    { answer: "both", quiet: true },
    settle,
  ),
  polling(
    "second GET before the first is answered",
    { begin: "poll", request: { target: SESSION } },
    { ask: { target: SESSION } },
    { answer: "poll" },
    settle,
    { ask: { target: SESSION } },
  ),
  polling(
    "GET whose connection breaks",
    { begin: "poll", request: { target: SESSION } },
    { abort: "poll" },
    settle,
  ),
];

const probed = [
  { upgrade: "ws", request: { target: UPGRADE } },
  { say: "ws", frames: ["2probe"] },
  { hear: "ws", by: "pong" },
];
const upgraded = [...probed, { say: "ws", frames: ["5"] }, { hear: "ws" }];

const upgrades = [
  polling("upgrade", ...upgraded),
  polling(
    "poll during an upgrade",
    { begin: "poll", request: { target: SESSION } },
    ...probed,
    { answer: "poll" },
  ),
  polling(
    "event instead of a probe",
    { upgrade: "ws", request: { target: UPGRADE } },
    { say: "ws", frames: [EVENT] },
    { hear: "ws", by: "pong" },
    { ask: { method: "POST", target: SESSION, body: EVENT } },
    { ask: { target: SESSION } },
  ),
  polling(
    "second upgrade during the first",
    ...probed,
    { upgrade: "second", request: { target: UPGRADE } },
    { hear: "second", by: "pong" },
    { say: "ws", frames: ["5"] },
    { hear: "ws" },
  ),
  polling(
    "second upgrade after the first",
    ...upgraded,
    { upgrade: "second", request: { target: UPGRADE } },
    { hear: "second", by: "pong" },
    { hear: "ws" },
  ),
  polling("GET after the upgrade", ...upgraded, { ask: { target: SESSION } }),
  polling("POST after the upgrade", ...upgraded, {
    ask: { method: "POST", target: SESSION, body: EVENT },
  }),
  handshake("WebSocket", {}),
  handshake("WebSocket of version 8", {
    lines: [...TO_WEBSOCKET, "Sec-WebSocket-Version: 8", KEY],
  }),
  handshake("WebSocket over HTTP/1.0", { version: "1.0" }),
  handshake("upgrade for transport polling", { target: POLLING }),
  refused("WebSocket without a key", { lines: [...TO_WEBSOCKET, VERSION] }),
  refused("WebSocket with a key of 15 bytes", {
    lines: [...TO_WEBSOCKET, VERSION, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"],
  }),
  refused("WebSocket of version 12", {
    lines: [...TO_WEBSOCKET, "Sec-WebSocket-Version: 12", KEY],
  }),
  refused("WebSocket with POST", { method: "POST" }),
  refused("WebSocket for EIO 3", { target: "/socket.io/?EIO=3&transport=websocket" }),
  refused("WebSocket for transport __proto__", {
    target: "/socket.io/?EIO=4&transport=__proto__",
  }),
  refused("WebSocket for an unknown session", { target: `${WEBSOCKET}&sid=unknown` }),
  refused("upgrade outside the path", { target: "/other/?EIO=4&transport=websocket" }),
  ask("transport websocket without an upgrade", { target: WEBSOCKET }),
];

const ORIGINS = {
  "no origin": [],
  "a listed origin": ["Origin: http://ok.example"],
  "another origin": ["Origin: http://evil.example"],
  "the origin null": ["Origin: null"],
};
const PREFLIGHT = [
  "Access-Control-Request-Method: PUT",
  "Access-Control-Request-Headers: x-one, X-Other",
];

function crossOrigin(server) {
  const named = (what, from) => `${server}: ${what} of ${from}`;
  const evil = ORIGINS["another origin"];
  return [
    ...Object.entries(ORIGINS).flatMap(([from, headers]) => [
      ask(named("GET", from), { target: POLLING, headers }, server),
      ask(
        named("preflight", from),
        { method: "OPTIONS", target: POLLING, headers: [...headers, ...PREFLIGHT] },
        server,
      ),
    ]),
    ask(named("refused GET", "another origin"), { target: "/socket.io/", headers: evil }, server),
    ask(
      named("OPTIONS to an unknown session", "another origin"),
      { method: "OPTIONS", target: `${POLLING}&sid=unknown`, headers: evil },
      server,
    ),
    handshake(named("WebSocket", "another origin"), { headers: evil }, server),
  ];
}

function cookies(server) {
  return [
    ask(`${server}: GET that opens a session`, { target: POLLING }, server),
    { ...post(`${server}: POST and GET`, { body: EVENT }), server },
    handshake(`${server}: WebSocket`, {}, server),
  ];
}

export const sections = {
  "WebSocket: packets after CONNECT": packets,
  "WebSocket: frames": webSocketFrames,
  "WebSocket: before CONNECT": beforeConnect,
  "HTTP: requests": requests,
  "HTTP: long-polling": posts,
  "HTTP: upgrades": upgrades,
  CORS: ["one origin", "two origins", "any origin", "each origin"].flatMap(crossOrigin),
  Cookies: ["cookie", "another cookie"].flatMap(cookies),
};

/** All of them, in order; each has a name of its own. */
export const probes = Object.values(sections).flat();

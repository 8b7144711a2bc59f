// What every client is tried with, in this order. A program that drives a client implements these
// by name; README.md says how, FIXTURE.md what the server does.

/** The ways a client is connected. */
export const TRANSPORTS = ["polling", "websocket", "upgrade"];

/** Each with what it proves. */
export const SCENARIOS = {
  connect: "auth arrives; both ends know the same id, and the transport that was asked for",
  events: "JSON of every kind, one value or several, and 100 events in a row, both ways",
  bare: "an event without arguments, both ways",
  acks: "the server answers the client's events, 20 of them one right after the other",
  questions: "the client answers the server's events; one that it does not answer times out",
  binary: "one binary value in an event, both ways, of any bytes",
  empty: "an empty binary value in an event, both ways",
  nested: "binary values between and inside JSON, in events and in answers, both ways",
  unicode: "all of Unicode in values, in names of events and of rooms",
  large: "text and binary as large as one message may be, both ways",
  namespace: "auth, events and answers on another namespace; an unknown one is refused",
  shared: "two namespaces over one connection, of which the server ends one",
  rooms: "a broadcast reaches the members of its rooms, each once and in order, and nobody else",
  refused: "a middleware's refusal arrives with its message and data; with the token it is let in",
  leave: "the client leaves, the server knows why, and the client may come back",
  ended: "the server disconnects the client, which is told so and may come back",
  reconnect: "the network breaks, and the client comes back by itself as a new socket",
  upgrade: "50 events each way from the first moment on, while polling becomes WebSocket",
  heartbeat: "connected before all of the above and, pinged throughout, still the same socket",
};

/** Whether a scenario has a meaning on a transport. */
export function applies(scenario, transport) {
  return scenario !== "upgrade" || transport === "upgrade";
}

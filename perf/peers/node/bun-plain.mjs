// The plain WebSocket application on Bun: its topics are everybody and the rooms.
import { announce, listenAddress } from "./arguments.mjs";
import { MAX_BACKPRESSURE_BYTES, MAX_PAYLOAD_BYTES } from "./limits.mjs";

const EVERYBODY = "everybody";
const WRONG_REQUEST = 426;

const address = listenAddress();
const server = Bun.serve({
  hostname: address.host,
  port: address.port,
  fetch(request, server) {
    if (!server.upgrade(request)) {
      return new Response("a WebSocket is expected here", { status: WRONG_REQUEST });
    }
  },
  websocket: {
    backpressureLimit: MAX_BACKPRESSURE_BYTES,
    maxPayloadLength: MAX_PAYLOAD_BYTES,
    perMessageDeflate: false,
    open: (client) => client.subscribe(EVERYBODY),
    message: receive,
  },
});
announce(address);

function receive(client, message) {
  switch (message[0]) {
    case "E":
      client.send(message);
      break;
    case "J":
      client.subscribe(topic(message.slice(1)));
      client.send("J");
      break;
    case "P":
      server.publish(EVERYBODY, `B${message.slice(1)}`);
      break;
    case "R": {
      const newline = message.indexOf("\n");
      server.publish(topic(message.slice(1, newline)), `B${message.slice(newline + 1)}`);
      break;
    }
  }
}

function topic(room) {
  return `room ${room}`;
}

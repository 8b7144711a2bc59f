// The plain WebSocket application on uWebSockets.js: its topics are everybody and the rooms.
import { App, DISABLED } from "@uwsjs/core";
import { listenAddress } from "./arguments.mjs";
import { MAX_BACKPRESSURE_BYTES, MAX_PAYLOAD_BYTES } from "./limits.mjs";
import { BROADCAST, ECHO, JOIN, NEWLINE, PUBLISH, PUBLISH_ROOM } from "./operations.mjs";
import { listen } from "./uws.mjs";

const EVERYBODY = "everybody";

const app = App();
app.ws("/", {
  compression: DISABLED,
  maxBackpressure: MAX_BACKPRESSURE_BYTES,
  maxPayloadLength: MAX_PAYLOAD_BYTES,
  open: (client) => client.subscribe(EVERYBODY),
  message: (client, message) => receive(client, Buffer.from(message)),
});
listen(app, listenAddress());

function receive(client, message) {
  switch (message[0]) {
    case ECHO:
      client.send(message);
      break;
    case JOIN:
      client.subscribe(topic(message.toString("utf8", 1)));
      client.send("J");
      break;
    case PUBLISH:
      publish(EVERYBODY, message);
      break;
    case PUBLISH_ROOM: {
      const newline = message.indexOf(NEWLINE);
      publish(topic(message.toString("utf8", 1, newline)), message.subarray(newline));
      break;
    }
  }
}

function topic(room) {
  return `room ${room}`;
}

/** Sends the bytes as they came but for the first, which becomes the operation. */
function publish(to, message) {
  message[0] = BROADCAST;
  app.publish(to, message);
}

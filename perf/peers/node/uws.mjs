// How both applications on uWebSockets.js listen.
import { LIBUS_LISTEN_EXCLUSIVE_PORT } from "@uwsjs/core";
import { announce, fail } from "./arguments.mjs";

/** Listens alone: by default the port would be shared with a server that another run left there. */
export function listen(app, address) {
  app.listen(address.host, address.port, LIBUS_LISTEN_EXCLUSIVE_PORT, (socket) => {
    if (!socket) {
      fail(`cannot listen on ${address.host}:${address.port}`);
    }
    announce(address);
  });
}

// Socket.IO on uWebSockets.js, whose topics then carry the broadcasts.
import { Server } from "socket.io";
import { App } from "@uwsjs/core";
import { benchmark } from "./application.mjs";
import { listenAddress } from "./arguments.mjs";
import { MAX_BACKPRESSURE_BYTES } from "./limits.mjs";
import { listen } from "./uws.mjs";

const app = App();
const io = new Server({ serveClient: false });
io.attachApp(app, { maxBackpressure: MAX_BACKPRESSURE_BYTES });
benchmark(io);
listen(app, listenAddress());

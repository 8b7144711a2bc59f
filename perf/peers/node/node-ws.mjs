// Socket.IO as most run it: Node.js's HTTP server and the WebSocket implementation `ws`.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { benchmark } from "./application.mjs";
import { announce, fail, listenAddress } from "./arguments.mjs";

const address = listenAddress();
const server = createServer();
benchmark(new Server(server, { serveClient: false }));
server.on("error", (error) => fail(error.message));
server.listen(address, () => announce(address));

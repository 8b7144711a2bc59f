// Socket.IO on Bun, with the engine that its authors make for it.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";
import { benchmark } from "./application.mjs";
import { announce, listenAddress } from "./arguments.mjs";

const address = listenAddress();
const engine = new Engine({ path: "/socket.io/" });
const io = new Server({ serveClient: false });
io.bind(engine);
benchmark(io);
Bun.serve({ hostname: address.host, port: address.port, ...engine.handler() });
announce(address);

// The clients, from where ./run installs them: beside the applications.
import { createRequire } from "node:module";

const require = createRequire(new URL("../node/package.json", import.meta.url));

export const { io } = require("socket.io-client");
export const { WebSocket, WebSocketServer } = require("ws");
export const { Server: SocketIoServer } = require("socket.io");

// One face for both protocols: echo, join, publish, publishRoom, inbox, close.
import { within } from "./deadline.mjs";
import { Inbox } from "./inbox.mjs";
import { WebSocket, io } from "./packages.mjs";

/** A client of the Socket.IO application, on these transports: the official one. */
export class SocketIoClient {
  inbox = new Inbox();
  #socket;

  static async connect(target, transports) {
    const client = new SocketIoClient();
    await within(client.#open(`http://${target}`, transports), `a connection by ${transports}`);
    return client;
  }

  #open(url, transports) {
    this.#socket = io(url, { transports, forceNew: true, reconnection: false });
    this.#socket.on("broadcast", (...payloads) => this.#receive(payloads));
    this.#socket.on("disconnect", (reason) => {
      this.inbox.fail(new Error(`the server ended a connection: ${reason}`));
    });
    return new Promise((resolve, reject) => {
      this.#socket.once("connect", resolve);
      this.#socket.once("connect_error", reject);
    });
  }

  #receive(payloads) {
    if (payloads.length === 1 && typeof payloads[0] === "string") {
      this.inbox.add(payloads[0]);
    } else {
      this.inbox.fail(new Error(`a broadcast of ${JSON.stringify(payloads).slice(0, 60)}`));
    }
  }

  async echo(payload) {
    return within(this.#socket.emitWithAck("echo", payload), "an echo");
  }

  async join(room) {
    await within(this.#socket.emitWithAck("join", room), "the answer to a join");
  }

  publish(payload) {
    this.#socket.emit("publish", payload);
  }

  publishRoom(room, payload) {
    this.#socket.emit("publish_room", room, payload);
  }

  close() {
    this.#socket.disconnect();
  }
}

/** A client of the plain WebSocket application. */
export class PlainClient {
  inbox = new Inbox();
  #socket;
  #echoes = new Map();
  #joins = [];

  static async connect(target) {
    const client = new PlainClient();
    await within(client.#open(`ws://${target}/`), "a connection");
    return client;
  }

  #open(url) {
    this.#socket = new WebSocket(url, { perMessageDeflate: false });
    this.#socket.on("message", (data, isBinary) => this.#receive(data.toString(), isBinary));
    this.#socket.on("close", (code) => {
      this.inbox.fail(new Error(`the server ended a connection with code ${code}`));
    });
    return new Promise((resolve, reject) => {
      this.#socket.once("open", resolve);
      this.#socket.on("error", reject);
    });
  }

  #receive(message, isBinary) {
    const payload = message.slice(1);
    if (isBinary) {
      this.inbox.fail(new Error("a binary message came"));
    } else if (message[0] === "B") {
      this.inbox.add(payload);
    } else if (message[0] === "E" && this.#echoes.has(payload)) {
      this.#echoes.get(payload)(payload);
      this.#echoes.delete(payload);
    } else if (message === "J" && this.#joins.length > 0) {
      this.#joins.shift()();
    } else {
      this.inbox.fail(new Error(`nobody asked for "${message.slice(0, 60)}"`));
    }
  }

  async echo(payload) {
    const echoed = new Promise((resolve) => this.#echoes.set(payload, resolve));
    this.#socket.send(`E${payload}`);
    return within(echoed, "an echo");
  }

  async join(room) {
    const joined = new Promise((resolve) => this.#joins.push(resolve));
    this.#socket.send(`J${room}`);
    await within(joined, "the answer to a join");
  }

  publish(payload) {
    this.#socket.send(`P${payload}`);
  }

  publishRoom(room, payload) {
    this.#socket.send(`R${room}\n${payload}`);
  }

  close() {
    this.#socket.close();
  }
}

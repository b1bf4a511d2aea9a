// What every behaviour is handed: clients of the wanted version and transport, and a line to the server's own record of
// what happened there. That line is plain HTTP beside the server under test, so that it cannot share its faults.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const installed = createRequire(new URL("../node/package.json", import.meta.url));
const packages = {
  2: installed("socket.io-client-2"),
  3: installed("socket.io-client-3"),
  4: installed("socket.io-client"),
};
const parsers = {
  2: installed("socket.io-msgpack-parser-2"),
  3: installed("socket.io-msgpack-parser"),
  4: installed("socket.io-msgpack-parser"),
};
export const WebSocket = installed("ws");

export const transportOptions = {
  polling: { transports: ["polling"], upgrade: false },
  websocket: { transports: ["websocket"] },
  upgrade: { transports: ["polling", "websocket"] },
};

export class Context {
  constructor({ client, transport, parser, hosting, ports, paths, middleware, control }) {
    this.client = client;
    this.parser = parser;
    this.transport = transport;
    this.hosting = hosting;
    this.ports = ports;
    this.paths = paths;
    this.middleware = middleware; // whether there is one around the server
    this.control = control;
    this.managers = [];
  }

  // The version of Engine.IO that the client asks for.
  get eio() {
    return this.client === 2 ? "3" : "4";
  }

  // The transport a session starts with, and the one it ends up with.
  get firstTransport() {
    return this.transport === "websocket" ? "websocket" : "polling";
  }

  get lastTransport() {
    return this.transport === "polling" ? "polling" : "websocket";
  }

  url(server = "main") {
    return `http://127.0.0.1:${this.ports[server]}`;
  }

  path(server = "main") {
    return this.paths[server];
  }

  // Where a server answers.
  endpoint(server) {
    return `${this.url(server)}${this.path(server)}/`;
  }

  // A manager of its own: one connection, not shared with any other behaviour, which opens when a socket connects.
  manager({ server = "main", ...options } = {}) {
    const manager = new packages[this.client].Manager(this.url(server), {
      ...transportOptions[this.transport],
      path: this.path(server),
      reconnection: false,
      reconnectionDelay: 50,
      reconnectionDelayMax: 100,
      timeout: 8000,
      autoConnect: false, // a socket that connects by itself and is told to as well would send CONNECT twice
      ...(this.parser === "msgpack" && { parser: parsers[this.client] }),
      ...options,
    });
    this.managers.push(manager);
    return this.client === 2 ? modernised(manager) : manager;
  }

  // A socket which has not been told to connect.
  socket(namespace, { auth, ...options } = {}) {
    return this.manager(options).socket(namespace, { auth });
  }

  async connect(namespace, options) {
    const socket = this.socket(namespace, options);
    await opened(socket);
    return socket;
  }

  connectMany(count, namespace, options) {
    return Promise.all(Array.from({ length: count }, () => this.connect(namespace, options)));
  }

  // Through `io()` itself, for what only it does: reading namespace and query from the address.
  lookup(address, options = {}) {
    const { io = packages[this.client] } = packages[this.client];
    const socket = io(address, {
      ...transportOptions[this.transport],
      path: this.path(),
      forceNew: true,
      reconnection: false,
      autoConnect: false,
      ...(this.parser === "msgpack" && { parser: parsers[this.client] }),
      ...options,
    });
    this.managers.push(socket.io);
    return socket;
  }

  // Waits until nothing more will change about the transport.
  async settled(socket) {
    await until(() => socket.io.engine.transport.name === this.lastTransport && !socket.io.engine.upgrading);
  }

  // The client learns of the end of its session: a WebSocket is closed, a poll is answered, or there was just no poll open
  // and the next one asks for a session that is gone.
  assertCutOff(reason) {
    const reasons = ["transport close", ...(this.lastTransport === "polling" ? ["transport error"] : [])];
    assert.ok(reasons.includes(reason), reason);
  }

  // What the server noted under this name, once there are that many notes.
  async notes(name, count = 1) {
    return this.#get("notes", { name, count });
  }

  // Runs what the server prepared under this name and gives its result.
  async ask(name, ...args) {
    return this.#get("ask", { name, args: JSON.stringify(args) });
  }

  async #get(what, query) {
    const response = await fetch(`${this.control}/${what}?${new URLSearchParams(query)}`);
    const { error, result } = await response.json();
    if (error) throw new Error(`${what} ${query.name}: ${error}`);
    return result;
  }

  close() {
    for (const manager of this.managers) {
      manager.reconnection(false);
      for (const socket of Object.values(manager.nsps)) socket.disconnect();
      manager.engine?.close();
    }
  }
}

// The oldest client under the names of the newer ones. It says who it is by a query, and hears of a refusal as "error".
function modernised(manager) {
  const make = manager.socket.bind(manager);
  manager.socket = (namespace, { auth } = {}) => {
    const socket = make(namespace, auth && { query: auth });
    Object.defineProperty(socket, "auth", { set: (value) => (socket.query = value) });
    socket.on("error", (refusal) => socket.emit("connect_error", asError(refusal)));
    return socket;
  };
  manager._packet = manager.packet;
  Object.defineProperty(manager, "_close", { set: (value) => (manager.destroy = value) });
  return manager;
}

function asError(refusal) {
  if (typeof refusal === "string") return new Error(refusal);
  const { message, ...rest } = refusal;
  return Object.assign(new Error(message), Object.keys(rest).length ? { data: refusal } : {});
}

// The first opening of a socket, or the reason why there is none.
export function opened(socket) {
  return new Promise((resolve, reject) => {
    socket.once("connect", () => resolve(socket));
    socket.once("connect_error", reject);
    socket.connect();
  });
}

export function refused(socket) {
  return new Promise((resolve, reject) => {
    socket.once("connect", () => reject(new Error("it was let in")));
    socket.once("connect_error", resolve);
    socket.connect();
  });
}

// Leaves, and waits for the connection to be over: the older client mistakes a late end for that of its next connection.
export async function leave(socket) {
  socket.disconnect();
  await until(() => socket.io.engine.readyState === "closed");
}

// The arguments of the next event of this name.
export function next(emitter, event) {
  return new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));
}

// The arguments of the answer, the same way in every version of the client.
export function request(socket, event, ...args) {
  return new Promise((resolve) => socket.emit(event, ...args, (...answer) => resolve(answer)));
}

export function collect(socket, event) {
  const seen = [];
  socket.on(event, (...args) => seen.push(args));
  return seen;
}

// Every event of these names, in the order of arrival, as [name, ...args].
export function collectAll(socket, ...events) {
  const seen = [];
  for (const event of events) socket.on(event, (...args) => seen.push([event, ...args]));
  return seen;
}

// The server has worked off all that these sockets sent before, and what it sent in return has arrived. Of several
// workers each has then sent what it had for the others, and those give it to their clients in front of a second answer.
export async function fence(...sockets) {
  let others = 0;
  for (const socket of sockets) others += (await request(socket, "fence"))[0];
  if (others > 0) for (const socket of sockets) await request(socket, "fence");
}

// In which of the server's processes each of these is.
export async function processes(...sockets) {
  return Promise.all(sockets.map(async (socket) => (await request(socket, "process"))[0]));
}

export async function until(condition) {
  while (!condition()) await sleep(5);
}

export function range(count) {
  return Array.from({ length: count }, (_, index) => index);
}

export { sleep };

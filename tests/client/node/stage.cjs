// What both servers have: the command line, the behaviours, the end. tests/client/duplexio_server.py is the same in
// Python; what is added here is added there.

"use strict";

const { readFileSync } = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { parseArgs } = require("node:util");

const CLOSE_MILLISECONDS = 2000;

function readOptions() {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "0" },
      path: { type: "string", default: "/socket.io" },
      transports: { type: "string", default: "polling,websocket" },
      parser: { type: "string", default: "json" },
      recovery: { type: "boolean", default: false },
      "recovery-seconds": { type: "string", default: "120" },
      "ping-interval": { type: "string", default: "25" }, // seconds, as the next
      "ping-timeout": { type: "string", default: "20" },
      "allow-eio3": { type: "boolean", default: false },
      "no-upgrades": { type: "boolean", default: false },
      "per-message-deflate": { type: "boolean", default: false },
      cookie: { type: "string" },
      "max-payload": { type: "string", default: "1000000" },
      "ssl-certfile": { type: "string" },
      "ssl-keyfile": { type: "string" },
      "ssl-ca-certs": { type: "string" }, // of clients, which then have to show a certificate
      http: { type: "boolean", default: false }, // a server that knows no Socket.IO
    },
  });
  return values;
}

// What both versions call by the same names.
function engineOptions(options) {
  return {
    path: options.path,
    serveClient: false,
    transports: options.transports.split(","),
    allowUpgrades: !options["no-upgrades"],
    pingInterval: Number(options["ping-interval"]) * 1000,
    pingTimeout: Number(options["ping-timeout"]) * 1000,
    perMessageDeflate: options["per-message-deflate"],
    maxHttpBufferSize: Number(options["max-payload"]),
  };
}

// `create(httpServer, options)` makes the server of its version.
function run(version, create) {
  const options = readOptions();
  const httpServer = listener(options);
  const io = options.http ? undefined : create(httpServer, options);
  if (io) prepare(io);
  httpServer.listen(Number(options.port), "127.0.0.1", () => {
    process.stdout.write(`${JSON.stringify({ port: httpServer.address().port, version })}\n`);
  });
  process.stdin.resume();
  process.stdin.on("end", () => {
    setTimeout(() => process.exit(), CLOSE_MILLISECONDS);
    if (!io) process.exit();
    io.close(() => process.exit());
    httpServer.closeIdleConnections();
  });
}

function listener(options) {
  const nothingHere = (request, response) => {
    response.writeHead(404, { "content-type": "text/html" });
    response.end("<html><body><h1>404 Not Found</h1></body></html>");
  };
  if (!options["ssl-certfile"]) return http.createServer(nothingHere);
  const authority = options["ssl-ca-certs"];
  const tls = { cert: readFileSync(options["ssl-certfile"]), key: readFileSync(options["ssl-keyfile"]) };
  if (authority) Object.assign(tls, { ca: readFileSync(authority), requestCert: true, rejectUnauthorized: true });
  return https.createServer(tls, nothingHere);
}

function prepare(io) {
  const stage = { io, recorded: new Map(), ends: new Map() };
  const enter = (socket) => behave(stage, socket);
  io.on("connection", enter);
  for (const name of ["/other", "/recover", /^\/dyn-\d+$/]) io.of(name).on("connection", enter);
  io.of("/refused")
    .use((socket, next) => next(refusal("nobody comes in here", { code: "closed", retry: false })))
    .on("connection", enter);
  io.of("/slow")
    .use((socket, next) => {
      const { auth, query } = socket.handshake;
      const { wait = 0, refuse } = auth ?? query;
      setTimeout(() => next(refuse === undefined ? undefined : refusal("after all not")), Number(wait) * 1000);
    })
    .on("connection", enter);
  io.of("/auth")
    .use((socket, next) => {
      const { auth, query } = socket.handshake;
      const token = auth?.token ?? query.token ?? null; // clients of version 2 have the query alone
      if (token === "secret") next();
      else next(refusal("not authorized", { code: "token", given: token }));
    })
    .on("connection", enter);
}

function refusal(message, data) {
  return Object.assign(new Error(message), { data });
}

function behave(stage, socket) {
  const { io, recorded, ends } = stage;
  const nsp = socket.nsp;
  let label;

  // Calls with the acknowledgement apart, which does nothing where none is wanted.
  const on = (event, handler) =>
    socket.on(event, (...args) => {
      const wanted = typeof args.at(-1) === "function";
      const ack = wanted ? args.pop() : () => {};
      handler(args, ack, wanted);
    });

  // Values.
  on("echo", (args, ack, wanted) => (wanted ? ack(...args) : socket.emit("echo", ...args)));
  on("request", (args) => socket.emit("response", ...args));
  on("ack", (args, ack) => ack(1, "two", [3], { four: 4 }, null));
  on("ack nothing", (args, ack) => ack());
  on("never", () => {});
  on("later", ([seconds, ...rest], ack) => setTimeout(() => ack(...rest), seconds * 1000));
  on("describe", (args, ack) => ack(plain(args)));
  on("binary", (args, ack) => {
    const nested = { a: Buffer.from([0, 255]), list: [Buffer.alloc(0), { deep: Buffer.from([1, 2, 3]) }], text: "ä" };
    socket.emit("binary", nested, Buffer.from("last"));
    ack(nested, Buffer.from("last"));
  });
  on("large", ([length], ack) => ack("ä".repeat(length)));
  on("burst", ([count, mixed]) => {
    for (let index = 0; index < count; index++) {
      if (mixed && index % 3 === 1) socket.emit("item", index, Buffer.from([index % 256]));
      else socket.emit("item", index);
    }
  });
  on("volatile", ([count]) => {
    for (let index = 0; index < count; index++) socket.volatile.emit("item", index);
  });
  on("compress", ([length]) => {
    socket.compress(true).emit("compressed", "a".repeat(length));
    socket.compress(false).emit("not compressed", "a".repeat(length));
  });
  on("ask", ([event, ...args], ack) => socket.emit(event, ...args, (...answers) => ack(plain(answers))));

  // What is written down; by name, so that it outlives the socket and tests do not see each other's.
  on("numbered", ([id, ledger], ack) => {
    listOf(recorded, ledger).push(id);
    ack(id);
  });
  on("reluctant", ([id, ledger, tries], ack) => {
    listOf(recorded, ledger).push(id);
    if (recorded.get(ledger).filter((each) => each === id).length >= tries) ack(id);
  });
  on("recorded", ([ledger], ack) => ack(recorded.get(ledger ?? "") ?? []));

  // Who is there.
  on("whoami", (args, ack) => {
    const { auth, headers, query, secure } = socket.handshake;
    ack({
      id: socket.id,
      nsp: nsp.name,
      auth: auth ?? {},
      headers,
      query: { ...query },
      secure,
      transport: socket.conn.transport.name,
      protocol: socket.conn.protocol ?? 3,
      recovered: socket.recovered ?? false,
    });
  });
  on("upgraded", (args, ack) => {
    const { conn } = socket;
    if (conn.transport.name === "websocket") ack("websocket");
    else conn.once("upgrade", () => ack(conn.transport.name));
  });
  on("counts", (args, ack) => ack({ clients: (io.engine ?? io.eio).clientsCount }));
  on("members", ([of], ack) => {
    const { sockets } = io.of(of); // by id, a Map or an object
    ack(sockets.size ?? Object.keys(sockets).length);
  });
  on("join", ([room], ack) => {
    socket.join(room);
    ack();
  });
  on("tell", ([room, event, ...args], ack) => {
    nsp.to(room).emit(event, ...args);
    ack();
  });
  on("tell later", ([seconds, room, event, ...args]) => {
    setTimeout(() => nsp.to(room).emit(event, ...args), seconds * 1000);
  });

  // Ends.
  on("kick", () => socket.disconnect());
  on("kick_all", () => socket.disconnect(true));
  on("close", () => socket.conn.close());
  on("drop", () => drop(socket.conn));
  on("miss", ([count]) => {
    socket.once("disconnect", () => {
      for (let index = 0; index < count; index++) nsp.to(socket.id).emit("missed", index);
    });
    drop(socket.conn);
  });
  on("label", ([name], ack) => {
    label = name;
    ack();
  });
  on("ended", ([name], ack) => listen(ends, name, ack));
  socket.on("disconnect", (reason) => {
    if (label !== undefined) tell(ends, label, reason);
  });
}

function listOf(map, name = "") {
  if (!map.has(name)) map.set(name, []);
  return map.get(name);
}

// A value that is waited for, by those that come before it and those that come after.
function listen(ends, name, listener) {
  const end = endOf(ends, name);
  if ("reason" in end) listener(end.reason);
  else end.listeners.push(listener);
}

function tell(ends, name, reason) {
  const end = endOf(ends, name);
  end.reason = reason;
  for (const listener of end.listeners.splice(0)) listener(reason);
}

function endOf(ends, name) {
  if (!ends.has(name)) ends.set(name, { listeners: [] });
  return ends.get(name);
}

// Ends the TCP connection without a word; on polling that of the poll, once there is one.
function drop(conn) {
  const { transport } = conn;
  if (transport.name === "websocket") transport.socket._socket.destroy();
  else if (transport.req) transport.req.socket.destroy();
  else if (conn.readyState === "open") setTimeout(() => drop(conn), 5);
}

// Bytes as texts.
function plain(value) {
  if (Buffer.isBuffer(value)) return `hex:${value.toString("hex")}`;
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return plain(Buffer.from(value));
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
  }
  return value;
}

module.exports = { engineOptions, run };

// Many clients in one process: some on polling, some on WebSocket, each with a connection of its own.
// It takes commands on standard input, a line of JSON each, and answers each with a line of JSON.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../node/package.json", import.meta.url));
const { io } = require("socket.io-client");

const { url, polling, websocket, upgrade, path, ca, websocketPort } = JSON.parse(process.argv[2]);

const clients = [
  ...make(polling, "polling", ["polling"]),
  ...make(websocket, "websocket", ["websocket"]),
  ...make(upgrade, "upgrade", ["polling", "websocket"]),
];

const commands = { connected, echo, report, shouted };

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...parameters } = JSON.parse(line);
  const answer = await commands[command](parameters);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
for (const client of clients) client.socket.disconnect();
await pause(50); // so that what says goodbye by polling gets out
process.stdout.write("", () => process.exit());

function make(count, kind, transports) {
  return Array.from({ length: count }, () => {
    const socket = io(url, {
      path,
      transports,
      forceNew: true,
      reconnectionDelay: 50,
      reconnectionDelayMax: 300,
      timeout: 5000,
      ...(ca && { ca: readFileSync(ca) }),
      ...(websocketPort && { transportOptions: { websocket: { port: websocketPort } } }),
    });
    const client = { socket, kind, reasons: [], connects: 0, error: null };
    socket.on("connect", () => client.connects++);
    socket.on("disconnect", (reason) => client.reasons.push(reason));
    socket.on("connect_error", (error) => (client.error = `${error.message}: ${error.description?.message ?? ""}`));
    return client;
  });
}

// Until every client is connected, and has been so often enough; an upgrade has to be through.
async function connected({ times, seconds }) {
  const deadline = performance.now() + seconds * 1000;
  while (!clients.every((client) => isConnected(client, times)) && performance.now() < deadline) await pause(20);
  return report();
}

function isConnected({ socket, connects, kind }, times) {
  const name = socket.io.engine?.transport?.name;
  return socket.connected && connects >= times && (kind !== "upgrade" || name === "websocket");
}

// Every client sends a text of that length, and text and bytes come back.
async function echo({ length, seconds }) {
  const answers = clients.map(async ({ socket }, index) => {
    const text = String.fromCharCode(97 + (index % 26)).repeat(length);
    const [sameText, sameBytes] = await socket.timeout(seconds * 1000).emitWithAck("echo", text, Buffer.from(text));
    return sameText === text && Buffer.from(sameBytes).toString() === text;
  });
  const results = await Promise.allSettled(answers);
  return { answered: results.filter(({ value }) => value === true).length, clients: clients.length };
}

// Every client asks for so many events at once, each of so many characters, and gets them all.
async function shouted({ length, count, seconds }) {
  const text = "é".repeat(length);
  const answers = clients.map(
    ({ socket }) =>
      new Promise((resolve) => {
        let seen = 0;
        const done = (value) => (socket.off("shouted"), resolve(value));
        const timer = setTimeout(() => done(false), seconds * 1000);
        socket.on("shouted", (heard) => {
          if (heard !== text) return done(false);
          if (++seen === count) clearTimeout(timer), done(true);
        });
        socket.emit("shout", text, count);
      }),
  );
  const results = await Promise.all(answers);
  return { answered: results.filter(Boolean).length, clients: clients.length };
}

function report() {
  return {
    clients: clients.length,
    connected: clients.filter(({ socket }) => socket.connected).length,
    transports: count(clients.map(({ socket }) => (socket.connected ? socket.io.engine.transport.name : "none"))),
    connects: clients.map(({ connects }) => connects),
    reasons: count(clients.flatMap(({ reasons }) => reasons)),
    errors: count(clients.map(({ error }) => error).filter(Boolean)),
  };
}

function count(names) {
  const counts = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

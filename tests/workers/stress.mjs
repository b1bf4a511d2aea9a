// Clients that keep asking, each request of a poll on a connection of its own, and what became of each.
// It says in a line when all are connected. A line on standard input ends it; the answer is a line of JSON.

import { createRequire } from "node:module";

const require = createRequire(new URL("../node/package.json", import.meta.url));
const { io } = require("socket.io-client");

const { url, polling, upgrade, pace } = JSON.parse(process.argv[2]);
let stopped = false;

const clients = [...make(polling, ["polling"]), ...make(upgrade, ["polling", "websocket"])];
const loops = clients.map(ask);
Promise.all(clients.map(({ first }) => first)).then(() => process.stdout.write("connected\n"));

process.stdin.once("data", async () => {
  stopped = true;
  await Promise.all(loops);
  const report = clients.map(({ socket, first, ...rest }) => ({
    connected: socket.connected,
    transport: socket.io.engine.transport.name,
    ...rest,
  }));
  const line = JSON.stringify(report);
  for (const { socket } of clients) socket.disconnect();
  process.stdout.write(`${line}\n`, () => process.exit());
});

function make(count, transports) {
  return Array.from({ length: count }, () => {
    const socket = io(url, { transports, forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 300 });
    const client = { socket, pids: [], reasons: [], unknown: 0, absences: [], answered: 0, unanswered: 0, heard: 0, wrong: 0 };
    // Of the events for all: their numbers, and for each connect whether the session was recovered, and how many there
    // were before it.
    Object.assign(client, { told: [], connects: [] });
    client.first = new Promise((resolve) => socket.once("connect", resolve));
    let left = 0;
    socket.on("connect", async () => {
      if (left) client.absences.push(performance.now() - left);
      client.connects.push([socket.recovered, client.told.length]);
      const id = socket.id;
      const pid = await socket.timeout(10_000).emitWithAck("pid").catch(() => null);
      if (pid !== null || socket.id === id) client.pids.push(pid);
    });
    socket.on("disconnect", (reason, details) => {
      left = performance.now();
      client.reasons.push(reason);
      if (details?.context?.responseText?.includes("Session ID unknown")) client.unknown++;
    });
    socket.on("shouted", () => client.heard++);
    socket.on("told", (number) => client.told.push(number));
    return client;
  });
}

async function ask(client) {
  const { socket } = client;
  for (let number = 0; !stopped; number++) {
    if (!socket.connected) {
      await pause(20);
      continue;
    }
    const id = socket.id;
    const text = `${number} `.repeat(1 + (number % 300));
    const heard = client.heard;
    try {
      socket.emit("shout", "x", 3);
      const [echoed] = await socket.timeout(10_000).emitWithAck("echo", text);
      client.answered++;
      // Three events came in front of the answer, and none of another.
      if (echoed !== text || (socket.id === id && client.heard !== heard + 3)) client.wrong++;
    } catch {
      // One that was asked on a session that has ended since will never be answered.
      if (socket.id === id) client.unanswered++;
    }
    await pause(pace);
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

// Clients with permessage-deflate: `ws` with each set of parameters, and socket.io-client as it is installed.
// Prints a line of JSON: what each agreed on, and whether all that it sent came back.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createRequire } from "node:module";

const require = createRequire(new URL("../node/package.json", import.meta.url));
const { WebSocket } = require("ws");
const { io } = require("socket.io-client");

const { host, offers } = JSON.parse(process.argv[2]);
const TEXTS = [0, 100, 1100, 1100, 30_000, 200_000].map((size) => randomBytes(size / 2).toString("hex"));

const results = { ws: [], client: await stockClient() };
for (const offer of offers) results.ws.push(await bareClient(offer));
process.stdout.write(`${JSON.stringify(results)}\n`, () => process.exit());

async function bareClient(offer) {
  const perMessageDeflate = { threshold: 0, ...offer };
  const ws = new WebSocket(`ws://${host}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate });
  let answer;
  ws.on("upgrade", ({ headers }) => (answer = headers["sec-websocket-extensions"]));
  const messages = reader(ws);
  assert.match(await messages.next(), /^0\{/);
  ws.send("40");
  assert.match(await messages.next(), /^40\{/);
  for (const text of TEXTS) {
    ws.send(`421["echo","${text}"]`);
    assert.equal(await messages.next(), `431[["${text}"]]`);
  }
  for (const text of TEXTS) {
    const packet = `421["echo","${text}"]`;
    const cut = packet.length >> 1;
    ws.send(packet.slice(0, 5), { fin: false });
    ws.send(packet.slice(5, cut), { fin: false });
    ws.ping();
    ws.send(packet.slice(cut), { fin: true });
    assert.equal(await messages.next(), `431[["${text}"]]`);
  }
  const extensions = ws.extensions;
  ws.close();
  const [code] = await once(ws, "close");
  return { answer, extensions, code };
}

function reader(ws) {
  const waiting = [];
  let wake = () => {};
  ws.on("message", (data) => (waiting.push(data.toString()), wake()));
  ws.on("close", () => (waiting.push("closed"), wake()));
  return {
    async next() {
      while (waiting.length === 0) await new Promise((resolve) => (wake = resolve));
      return waiting.shift();
    },
  };
}

async function stockClient() {
  const found = {};
  for (const transports of [["websocket"], ["polling", "websocket"]]) {
    const socket = io(`http://${host}`, { transports, forceNew: true, reconnection: false });
    const upgraded = transports.length > 1 ? once(socket.io.engine, "upgrade") : null;
    await Promise.all([once(socket, "connect"), upgraded]);
    for (const text of TEXTS) {
      const [sameText, sameBytes] = await socket.timeout(10_000).emitWithAck("echo", text, Buffer.from(text));
      assert.equal(sameText, text);
      assert.equal(Buffer.from(sameBytes).toString(), text);
    }
    const heard = [];
    socket.on("shouted", (text) => heard.push(text));
    socket.emit("shout", "é".repeat(3000), 5);
    await socket.timeout(10_000).emitWithAck("echo");
    assert.deepEqual(heard, Array(5).fill("é".repeat(3000)));
    found[transports.join()] = socket.io.engine.transport.ws.extensions;
    socket.disconnect();
  }
  return found;
}

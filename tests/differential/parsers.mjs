// Node's decoders, as a Socket.IO server on Node drives them, and those of JavaScript clients, over a batch of inputs.
//
//     node parsers.mjs inputs outcomes
//
// A line of `inputs` is a JSON array: the decoder's name, then messages in base64, each behind `t` (text) or `b`
// (binary). Its line of `outcomes` has fields between tabs: how many messages were handled, why the next one was
// refused (empty: none was), and the canonical form of each packet.

import { isUtf8 } from "node:buffer";
import { createReadStream, createWriteStream } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { finished } from "node:stream/promises";
import { types } from "node:util";

const require = createRequire(new URL("../node/package.json", import.meta.url));
const engine4 = require("engine.io-parser");
// What a server runs for protocol 3; it is no entry of the package.
const engine3 = require("./node_modules/engine.io/build/parser-v3/index.js");
const socket5 = require("socket.io-parser");
const msgpack = require("socket.io-msgpack-parser");
const client2 = createRequire(require.resolve("socket.io-client-2"));

const TYPES = { open: 0, close: 1, ping: 2, pong: 3, message: 4, upgrade: 5, noop: 6 };
const bits = new DataView(new ArrayBuffer(8));

function quoted(text) {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (unit) => "\\u" + unit.charCodeAt(0).toString(16).padStart(4, "0"),
  );
}

function number(value) {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
    return String(value);
  }
  if (Number.isNaN(value)) return "NaN";
  bits.setFloat64(0, value);
  return "#" + bits.getBigUint64(0).toString(16).padStart(16, "0");
}

function canonical(value) {
  switch (typeof value) {
    case "string":
      return quoted(value);
    case "number":
      return number(value);
    case "object":
      if (value === null) return "null";
      if (ArrayBuffer.isView(value)) return `<${value.toString("hex")}>`;
      if (types.isArrayBuffer(value)) return canonical(Buffer.from(value));
      if (types.isDate(value)) return `@${value.getTime()}`;
      if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
      // In the order of Python, where there are no lone surrogates.
      return `{${Object.entries(value)
        .map(([key, item]) => [quoted(key.toWellFormed()), `${quoted(key)}:${canonical(item)}`])
        .sort(([one], [other]) => (one < other ? -1 : 1))
        .map(([, field]) => field)
        .join(",")}}`;
    default:
      return String(value);
  }
}

// What arrives on a WebSocket: `ws` lets no text pass that is not UTF-8.
function webSocketMessage({ data, binary }) {
  if (binary) return data;
  if (!isUtf8(data)) throw new Error("not valid UTF-8");
  return data.toString();
}

function enginePacket({ type, data }) {
  if (type === "error") throw new Error(data);
  if (type !== "message") return TYPES[type] + canonical(Buffer.from(data ?? ""));
  return canonical(Buffer.isBuffer(data) ? data : "4" + (data ?? ""));
}

function socketPacket({ type, nsp, id, data }) {
  // Protocol 4 keeps the type of a packet that had attachments.
  if (type > 4) type -= 3;
  return `${type} ${canonical(id)} ${canonical(nsp)} ${canonical(data)}`;
}

// Each takes the messages of one connection and yields after each the packets that it has brought.
const DECODERS = {
  *payload4(messages) {
    for (const { data } of messages) {
      yield engine4.decodePayload(data.toString()).map(enginePacket);
    }
  },

  *packet4(messages) {
    for (const message of messages) {
      yield [enginePacket(engine4.decodePacket(webSocketMessage(message)))];
    }
  },

  *payload3(messages) {
    for (const { data, binary } of messages) {
      const packets = [];
      engine3.decodePayload(binary ? data : data.toString(), (packet) => void packets.push(packet));
      yield packets.map(enginePacket);
    }
  },

  *packet3(messages) {
    for (const message of messages) {
      yield [enginePacket(engine3.decodePacket(webSocketMessage(message)))];
    }
  },

  *socket5(messages) {
    yield* socketPackets(new socket5.Decoder(), messages.map((message) => () => webSocketMessage(message)));
  },

  *msgpack(messages) {
    yield* socketPackets(new msgpack.Decoder(), messages.map((message) => () => webSocketMessage(message)));
  },
};

// What clients make of a polling body.
const CLIENTS = {
  *client4([{ data }]) {
    const messages = engine4.decodePayload(data.toString()).map((packet) => () => messageOf(packet));
    yield* socketPackets(new socket5.Decoder(), messages);
  },

  *client3([{ data, binary }]) {
    const packets = [];
    client2("engine.io-parser").decodePayload(binary ? data : data.toString(), (packet) => void packets.push(packet));
    yield* socketPackets(new (client2("socket.io-parser").Decoder)(), packets.map((packet) => () => messageOf(packet)));
  },
};

function messageOf({ type, data }) {
  if (type !== "message") throw new Error(`${type} ${data}`);
  return data;
}

function* socketPackets(decoder, messages) {
  let packets = [];
  let waiting = false;
  decoder.on("decoded", (packet) => {
    waiting = false;
    packets.push(socketPacket(packet));
  });
  for (const message of messages) {
    // The engine hands on an empty message without its data.
    const data = message() || undefined;
    waiting = true;
    decoder.add(data);
    yield packets;
    packets = [];
  }
  if (waiting) yield ["waiting"];
}

function outcome(line) {
  const [name, ...parts] = JSON.parse(line);
  const messages = parts.map((part) => ({ binary: part[0] === "b", data: Buffer.from(part.slice(1), "base64") }));
  const decode = DECODERS[name] ?? CLIENTS[name];
  const packets = [];
  let handled = 0;
  let refusal = "";
  try {
    for (const some of decode(messages)) {
      packets.push(...some);
      handled = Math.min(handled + 1, messages.length);
    }
  } catch (error) {
    refusal = quoted(error.message || error.name);
  }
  return [handled, refusal, ...packets].join("\t");
}

const [inputs, outcomes] = process.argv.slice(2);
const output = createWriteStream(outcomes);
for await (const line of createInterface({ input: createReadStream(inputs), crlfDelay: Infinity })) {
  if (!output.write(outcome(line) + "\n")) await new Promise((resolve) => output.once("drain", resolve));
}
output.end();
await finished(output);

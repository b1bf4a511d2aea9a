// Goes through the stage of a peer with a JavaScript client, so that the three stages are the same ones:
// `node checks.mjs --client 4 --url http://127.0.0.1:1234 --transport websocket`. The exit code tells.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const installed = createRequire(new URL("../../node/package.json", import.meta.url));

const { values: options } = parseArgs({
  options: {
    client: { type: "string" },
    url: { type: "string" },
    transport: { type: "string" },
    parser: { type: "string", default: "json" },
    recovery: { type: "boolean", default: false },
  },
});

const old = options.client === "2";
const { Manager } = installed(old ? "socket.io-client-2" : "socket.io-client");
const parsers = { json: undefined, msgpack: installed(`socket.io-msgpack-parser${old ? "-2" : ""}`) };
const parser = parsers[options.parser];
const transports = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };
const sockets = [];
const ledger = `${process.pid}`;

setTimeout(() => {
  console.error("it hangs");
  process.exit(1);
}, 20_000).unref();

function connect(name = "/", { auth, ...more } = {}) {
  const manager = new Manager(options.url, {
    transports: transports[options.transport],
    upgrade: options.transport === "upgrade",
    reconnectionDelay: 20,
    reconnectionDelayMax: 50,
    extraHeaders: { "x-from": "the checks" },
    query: { color: "blue" },
    autoConnect: false,
    ...(parser && { parser }),
    ...more,
  });
  const socket = manager.socket(name, old ? { query: auth } : { auth });
  sockets.push(socket);
  socket.connect();
  return socket;
}

const once = (socket, event) => new Promise((resolve) => socket.once(event, (...args) => resolve(args)));
const ask = (socket, ...args) => new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer)));
const collect = (socket, event, count) =>
  new Promise((resolve) => {
    const seen = [];
    socket.on(event, (...args) => seen.push(args) === count && resolve(seen));
  });

async function connected(...args) {
  const socket = connect(...args);
  await once(socket, "connect");
  return socket;
}

if (options.recovery) await recovery();
else await stage();
for (const socket of sockets) socket.close();
setTimeout(() => process.exit(), 100);

async function stage() {
  const main = await connected();
  if (options.transport === "upgrade") assert.deepEqual(await ask(main, "upgraded"), ["websocket"]);

  // Values.
  assert.deepEqual(await ask(main, "echo", 1, "ä", [null, { a: 2.5 }]), [1, "ä", [null, { a: 2.5 }]]);
  main.emit("echo", "no answer", 2);
  assert.deepEqual(await once(main, "echo"), ["no answer", 2]);
  main.emit("request", { data: "x" });
  assert.deepEqual(await once(main, "response"), [{ data: "x" }]);
  assert.deepEqual(await ask(main, "ack"), [1, "two", [3], { four: 4 }, null]);
  assert.deepEqual(await ask(main, "ack nothing"), []);
  assert.deepEqual(await ask(main, "later", 0.01, "a", 2), ["a", 2]);
  const described = [["hex:00ff", { deep: "hex:" }, "text"]];
  assert.deepEqual(await ask(main, "describe", Buffer.from([0, 255]), { deep: Buffer.alloc(0) }, "text"), described);
  const [came, answer] = await Promise.all([once(main, "binary"), ask(main, "binary")]);
  for (const [nested, last] of [came, answer]) {
    assert.deepEqual(hex(nested), { a: "00ff", list: ["", { deep: "010203" }], text: "ä" });
    assert.equal(hex(last), "6c617374");
  }
  assert.deepEqual(await ask(main, "large", 50_000), ["ä".repeat(50_000)]);
  const items = collect(main, "item", 20);
  main.emit("burst", 10, true);
  main.emit("burst", 10);
  assert.deepEqual(numbers(await items), [...range(10), ...range(10)]);
  assert.deepEqual(hex(await items)[4], [4, "04"]);
  main.off("item");
  main.emit("volatile", 1);
  assert.deepEqual(await once(main, "item"), [0]);
  main.emit("compress", 3);
  assert.deepEqual(await once(main, "compressed"), ["aaa"]);
  main.on("question", (value, ack) => ack(value, Buffer.from("a")));
  assert.deepEqual(await ask(main, "ask", "question", 7), [[7, "hex:61"]]);

  // What is written down.
  for (const id of [1, 2, 2]) assert.deepEqual(await ask(main, "numbered", id, ledger), [id]);
  main.emit("reluctant", 3, ledger, 2, () => assert.fail("too early"));
  assert.deepEqual(await ask(main, "reluctant", 3, ledger, 2), [3]);
  assert.deepEqual(await ask(main, "recorded", ledger), [[1, 2, 2, 3, 3]]);
  assert.deepEqual(await ask(main, "recorded", `${ledger} none`), [[]]);

  // Who is there.
  const [me] = await ask(main, "whoami");
  assert.equal(me.id, main.id);
  assert.deepEqual([me.nsp, me.transport, me.protocol], ["/", me.transport, old ? 3 : 4]);
  assert.equal(me.transport, options.transport === "polling" ? "polling" : "websocket");
  assert.deepEqual([me.headers["x-from"], me.query.color, me.recovered], ["the checks", "blue", false]);
  assert.ok((await ask(main, "counts"))[0].clients >= 1);
  await ask(main, "join", "room");
  const [told] = await Promise.all([once(main, "told"), ask(main, "tell", "room", "told", 5)]);
  assert.deepEqual(told, [5]);
  main.emit("tell later", 0.01, "room", "told", 6);
  assert.deepEqual(await once(main, "told"), [6]);

  // Namespaces.
  const dataless = old && options.parser === "msgpack"; // that parser takes an error for a text, and fails
  if (!dataless) await refusals();
  const authorized = await connected("/auth", { auth: { token: "secret" } });
  if (!old) assert.deepEqual((await ask(authorized, "whoami"))[0].auth, { token: "secret" });
  const dynamic = await connected("/dyn-12");
  assert.equal((await ask(dynamic, "whoami"))[0].nsp, "/dyn-12");

  // Ends.
  for (const [event, reason] of [
    ["kick", "io server disconnect"],
    ["kick_all", "io server disconnect"],
  ]) {
    const socket = await connected("/other");
    await ask(socket, "label", `${ledger} ${event}`);
    socket.emit(event);
    assert.equal((await once(socket, "disconnect"))[0], reason);
    await ask(main, "ended", `${ledger} ${event}`);
  }
  for (const event of ["close", "drop", "miss"]) {
    const socket = await connected("/other", { reconnection: false });
    await ask(socket, "label", `${ledger} ${event}`);
    socket.emit(event, 2);
    assert.match((await once(socket, "disconnect"))[0], /^transport (close|error)$/);
    await ask(main, "ended", `${ledger} ${event}`);
  }
}

async function refusals() {
  const refusal = async (socket) => (await once(socket, old ? "error" : "connect_error"))[0];
  const closed = await refusal(connect("/refused"));
  assert.deepEqual(old ? closed : closed.data, { code: "closed", retry: false });
  const unknown = await refusal(connect("/auth", { auth: { token: "wrong" } }));
  assert.deepEqual(old ? unknown : unknown.data, { code: "token", given: "wrong" });
  if (!old) assert.deepEqual([closed.message, unknown.message], ["nobody comes in here", "not authorized"]);
}

// By itself: a server that can recover adds an offset to its events.
async function recovery() {
  const socket = await connected("/recover");
  await ask(socket, "join", "room");
  socket.emit("echo", "so that there is an offset");
  await once(socket, "echo");
  const missed = collect(socket, "missed", 3);
  socket.emit("miss", 3);
  await once(socket, "disconnect");
  assert.deepEqual(numbers(await missed), [0, 1, 2]);
  assert.equal((await ask(socket, "whoami"))[0].recovered, true);
}

function numbers(events) {
  return events.map(([number]) => number);
}

function* range(count) {
  for (let index = 0; index < count; index++) yield index;
}

function hex(value) {
  if (Buffer.isBuffer(value)) return value.toString("hex");
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return hex(Buffer.from(value));
  if (Array.isArray(value)) return value.map(hex);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, hex(each)]));
}

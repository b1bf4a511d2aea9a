// Drives the examples' pages in Chromium, as people would.
//
//   node drive.mjs <scenario> <base address> <folder for screenshots>
//
// Prints a line of JSON for each thing that held. Where a scenario wants the server stopped or started it prints
// {"please": "stop"} and goes on when a line comes on standard input. Ends with 0 if all held.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join as pathOf } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { deflateSync } from "node:zlib";

const require = createRequire(new URL("../node/", import.meta.url));
const { chromium } = require("playwright-core");
const { io } = require("socket.io-client");

const [scenario, base, artefacts] = process.argv.slice(2);
const WAIT = 10_000;
const LONG_WAIT = 30_000; // a server that goes and comes back
const WIDE = { viewport: { width: 1280, height: 800 } };
const NARROW = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const TYPING = ".people li.types";

const held = (what, more = {}) => console.log(JSON.stringify({ held: what, ...more }));

// The other side of "please"

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function please(what) {
  console.log(JSON.stringify({ please: what }));
  const { value, done } = await answers.next();
  assert.ok(!done && value === what, `the server should have been told to ${what}`);
}

// Pages, each in a profile of its own, and everything they complain about

const complaints = [];
let serverMayBeGone = false;
const ABOUT_THE_SERVER = new RegExp(
  [
    "net::ERR_(CONNECTION_|EMPTY_RESPONSE|INCOMPLETE|INTERNET_DISCONNECTED|NETWORK_CHANGED)",
    "WebSocket connection to",
    "responded with a status of (400|503)", // a session of the server before; a server that is closing
  ].join("|"),
);

async function open(browser, options = WIDE, path = "/") {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT);
  page.on("console", (message) => {
    if (!["error", "warning"].includes(message.type())) return;
    if (serverMayBeGone && ABOUT_THE_SERVER.test(message.text())) return;
    complaints.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => complaints.push(`page: ${error.stack}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${base}/`) && !/^(blob|data):/.test(url)) complaints.push(`request: ${url}`);
  });
  await page.addInitScript(recordBadge);
  await page.goto(base + path);
  return page;
}

// Every state that the badge has shown, also those that were there for a moment.
function recordBadge() {
  window.badges = [];
  document.addEventListener("DOMContentLoaded", () => {
    const badge = document.getElementById("badge");
    if (!badge) return;
    const note = () => {
      const shown = `${badge.dataset.state}/${badge.dataset.transport}`;
      if (window.badges.at(-1) !== shown) window.badges.push(shown);
    };
    new MutationObserver(note).observe(badge, { attributes: true });
    note();
  });
}

const badges = (page) => page.evaluate(() => window.badges);

async function badge(page, state, transport, timeout = WAIT) {
  const over = transport ? `[data-transport="${transport}"]` : "";
  await page.waitForSelector(`#badge[data-state="${state}"]${over}`, { timeout });
}

async function join(page, name, room) {
  await page.fill("#join-name", name);
  await page.fill("#join-room", room);
  await page.click("#join-button");
  await inRoom(page, room);
}

async function inRoom(page, room) {
  await page.waitForFunction((name) => document.getElementById("room-title").textContent === name, room);
  await page.waitForSelector("#chat", { state: "visible" });
}

async function say(page, text) {
  await page.fill("#draft", text);
  await page.press("#draft", "Enter");
}

const withText = (page, text) => page.locator(".message", { has: page.getByText(text, { exact: true }) });
const sees = (page, text, timeout = WAIT) => withText(page, text).waitFor({ timeout });
const delivered = (page, text, timeout = WAIT) =>
  page.locator('.message[data-state="delivered"]', { has: page.getByText(text, { exact: true }) }).waitFor({ timeout });
const notice = (page, text, timeout = WAIT) => page.locator(".notice", { hasText: text }).first().waitFor({ timeout });
const names = (page) => page.locator("#people .name").allTextContents();

async function peopleAre(page, expected) {
  const wanted = [...expected].sort().join();
  await until(async () => (await names(page)).sort().join() === wanted, `the people are ${wanted}`);
}

// What a shown picture is: its natural size, and what its pixels add up to.
async function pictureIn(page, index = -1) {
  const image = page.locator(".picture img").nth(index);
  await image.waitFor();
  await page.waitForFunction(
    (at) => {
      const shown = Array.from(document.querySelectorAll(".picture img")).at(at);
      return shown?.complete && shown.naturalWidth > 0;
    },
    index,
  );
  const { width, height, pixels } = await image.evaluate((shown) => {
    const canvas = document.createElement("canvas");
    canvas.width = shown.naturalWidth;
    canvas.height = shown.naturalHeight;
    const context = canvas.getContext("2d");
    context.drawImage(shown, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let sum = 0;
    for (const value of data) sum = (sum * 31 + value) % 1_000_000_007;
    return { width: canvas.width, height: canvas.height, pixels: sum };
  });
  return { width, height, pixels };
}

// A Node client in the chat

async function nodeClient(name, room, options = {}) {
  const key = createHash("sha256").update(name).digest("hex").slice(0, 32);
  const socket = io(base, { auth: { name, key }, forceNew: true, ...options });
  const got = [];
  socket.onAny((event, ...parts) => got.push([event, ...parts]));
  await once(socket, "welcome");
  const answer = await ask(socket, "join", room);
  assert.equal(answer.room, room);
  return { socket, got, answer };
}

function once(socket, event) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} came`)), WAIT);
    socket.once(event, (...parts) => {
      clearTimeout(timer);
      resolve(parts);
    });
  });
}

const gets = (got, text) =>
  until(() => got.some(([event, , entry]) => event === "message" && entry.text === text), `a Node client gets ${text}`);
const ask = (socket, event, ...parts) => socket.timeout(WAIT).emitWithAck(event, ...parts);
let counter = 0;
const messageId = () => `${scenario}-message-${String((counter += 1)).padStart(6, "0")}`;

async function until(test, what, timeout = WAIT) {
  const end = Date.now() + timeout;
  while (Date.now() < end) {
    const value = await test();
    if (value) return value;
    await sleep(40);
  }
  throw new Error(`waited in vain: ${what}`);
}

// A PNG whose pixels a function gives

function png(width, height, pixel) {
  const rows = Buffer.alloc(height * (1 + width * 3));
  let at = 0;
  for (let y = 0; y < height; y += 1) {
    at += 1;
    for (let x = 0; x < width; x += 1) {
      for (const value of pixel(x / width, y / height)) rows[at++] = value;
    }
  }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2, 0, 0, 0], 8);
  const parts = [["IHDR", head], ["IDAT", deflateSync(rows)], ["IEND", Buffer.alloc(0)]];
  return Buffer.concat([Buffer.from("89504e470d0a1a0a", "hex"), ...parts.map(([type, data]) => chunk(type, data))]);
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crc(body), body.length + 4);
  return out;
}

function crc(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return (sum ^ 0xffffffff) >>> 0;
}

let seed = 7;
const noise = () => ((seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) >>> 16) & 31;
const noisy = (x, y) => [120 + 90 * x + noise(), 110 + 60 * y + noise(), 150 - 70 * x * y + noise()].map(Math.round);

function evening(x, y) {
  const sun = Math.hypot((x - 0.64) * 1.5, y - 0.56);
  const ridge = 0.66 + 0.05 * Math.sin(x * 9) + 0.03 * Math.sin(x * 23 + 1);
  const near = 0.8 + 0.04 * Math.sin(x * 6 + 2) + 0.02 * Math.sin(x * 31);
  if (y > near) return [26, 48, 46];
  if (y > ridge) return [58, 92, 88];
  if (sun < 0.09) return [255, 226, 170];
  const glow = Math.max(0, 1 - sun * 1.4);
  const sky = [70 + 150 * y + 60 * glow, 96 + 74 * y + 44 * glow, 138 + 10 * y - 10 * glow];
  return sky.map((value) => Math.min(255, Math.round(value)));
}

// The scenarios

const scenarios = { chat, restart, keyboard, screenshots, request_response: requestResponse };

async function chat(browser) {
  const ann = await open(browser);
  await join(ann, "Ann", "workshop");
  await badge(ann, "connected", "websocket");
  const shown = (await badges(ann)).filter((one) => one.startsWith("connected/"));
  assert.deepEqual(shown, ["connected/polling", "connected/websocket"]);
  held("the badge went from polling to websocket", { shown });

  const bo = await open(browser);
  await join(bo, "Bo", "workshop");
  await peopleAre(ann, ["Ann", "Bo"]);
  await peopleAre(bo, ["Ann", "Bo"]);
  await notice(ann, "Bo joined");
  assert.equal(await ann.textContent("#room-people"), "2 people here");
  held("both see who is here");

  await say(ann, "Hello, is anybody there?");
  await sees(bo, "Hello, is anybody there?");
  await delivered(ann, "Hello, is anybody there?");
  await say(bo, "Yes, I am.");
  await sees(ann, "Yes, I am.");
  await delivered(bo, "Yes, I am.");
  held("messages go both ways and are known to have arrived");

  await bo.locator("#draft").pressSequentially("let me think", { delay: 40 });
  await ann.locator("#typing.on", { hasText: "Bo is typing" }).waitFor();
  await ann.waitForSelector(TYPING);
  await ann.locator("#typing:not(.on)").waitFor({ state: "attached" });
  assert.equal(await ann.locator(TYPING).count(), 0);
  held("typing is seen, and ends by itself");
  await bo.fill("#draft", "");

  const hostile = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';
  await say(bo, hostile);
  await sees(ann, hostile);
  assert.equal(await ann.evaluate(() => window.hacked), undefined);
  held("markup in a message is text");

  await ann.setInputFiles("#file", { name: "large.png", mimeType: "image/png", buffer: png(2000, 1500, noisy) });
  await ann.waitForSelector("#tray", { state: "visible" });
  await say(ann, "Here is a picture");
  await delivered(ann, "Here is a picture", LONG_WAIT);
  const sent = await pictureIn(ann);
  const received = await pictureIn(bo);
  assert.deepEqual(received, sent);
  assert.deepEqual([received.width, received.height], [1600, 1200]);
  held("a picture arrived whole, made smaller before it was sent", received);

  await ann.setInputFiles("#file", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("not a picture") });
  await ann.locator("#toast", { hasText: "Only pictures can be sent." }).waitFor();
  await ann.setInputFiles("#file", { name: "broken.png", mimeType: "image/png", buffer: Buffer.from("not a picture") });
  await ann.locator("#toast", { hasText: "cannot read this file" }).waitFor();
  held("what is not a picture is not sent");

  await withNodeClient(ann, bo);
  await rooms(ann, bo);

  await otherWaysForPictures(ann, bo);
  await retry(ann, bo);
  await readingBack(ann, bo);

  const later = await open(browser);
  await join(later, "ann", "workshop");
  assert.equal(await later.textContent("#me-name"), "ann 2");
  await sees(later, "Yes, I am.");
  await later.locator(".picture").first().scrollIntoViewIfNeeded();
  assert.deepEqual(await pictureIn(later, 0), sent);
  held("who comes later sees the history, and gets a name of his own");

  await later.reload();
  await inRoom(later, "workshop");
  assert.equal(await later.textContent("#me-name"), "ann 2");
  await sleep(4_500);
  assert.equal(await bo.locator(".notice", { hasText: "ann 2 left" }).count(), 0);
  held("a page loaded again is the same person, and nobody is told that he left");

  const copy = await later.context().newPage();
  const storage = await later.evaluate(() => Object.entries(sessionStorage));
  await copy.addInitScript((pairs) => pairs.forEach(([key, value]) => sessionStorage.setItem(key, value)), storage);
  await copy.goto(base);
  await inRoom(copy, "workshop");
  await later.waitForSelector("#elsewhere", { state: "visible" });
  await later.keyboard.press("Enter");
  await later.waitForSelector("#elsewhere", { state: "hidden" });
  await badge(later, "connected", "websocket");
  await copy.waitForSelector("#elsewhere", { state: "visible" });
  await copy.close();
  held("a copied tab takes over, and gives back");

  await later.click("#leave");
  await later.waitForSelector("#join", { state: "visible" });
  await notice(bo, "ann 2 left");
  await peopleAre(bo, ["Ann", "Bo"]);
  held("leaving is seen");
}

async function withNodeClient(ann, bo) {
  const { socket, got, answer } = await nodeClient("Node", "workshop");
  assert.deepEqual(answer.people.map((person) => person.name).sort(), ["Ann", "Bo", "Node"]);
  await peopleAre(ann, ["Ann", "Bo", "Node"]);
  const old = answer.messages.find((entry) => entry.picture);
  const bytes = await ask(socket, "picture", old.id);
  assert.ok(Buffer.isBuffer(bytes) && bytes.length > 1000 && bytes.length <= 400_000, "the picture's bytes");
  held("a Node client gets a picture of the history as bytes", { size: bytes.length, kind: old.picture.kind });

  await ask(socket, "message", { room: "workshop", id: messageId(), text: "Hello from Node" });
  await sees(ann, "Hello from Node");
  await sees(bo, "Hello from Node");
  await say(ann, "Hello Node");
  await gets(got, "Hello Node");
  held("a Node client and the pages talk");

  const small = png(64, 48, (x) => [Math.round(x * 255), 80, 160]);
  const about = { room: "workshop", id: messageId(), text: "", width: 64, height: 48 };
  const done = await ask(socket, "message", about, small);
  assert.equal(typeof done.at, "number");
  await until(async () => (await ann.locator(".picture").count()) === 2, "the small picture");
  const [one, other] = [await pictureIn(ann), await pictureIn(bo)];
  assert.deepEqual([one.width, one.height], [64, 48]);
  assert.deepEqual(one, other);
  await bo.setInputFiles("#file", { name: "small.png", mimeType: "image/png", buffer: small });
  await bo.waitForSelector("#tray", { state: "visible" });
  await bo.press("#draft", "Enter");
  const live = await until(() => got.find(([event, , , part]) => event === "message" && part), "the page's picture");
  assert.ok(Buffer.isBuffer(live[3]), "a binary attachment");
  assert.equal(live[3].subarray(1, 4).toString(), "PNG");
  assert.deepEqual([live[2].picture.width, live[2].picture.height], [64, 48]);
  held("pictures go between Node and the pages, both ways");

  for (const transport of ["polling", "websocket"]) {
    const other = (await nodeClient(`Only ${transport}`, "workshop", { transports: [transport] })).socket;
    assert.deepEqual(await ask(other, "picture", old.id), bytes);
    const text = `A picture over ${transport}`;
    await ask(other, "message", { room: "workshop", id: messageId(), text, width: 64, height: 48 }, small);
    await sees(ann, text);
    assert.deepEqual(await pictureIn(ann), one);
    assert.equal(other.io.engine.transport.name, transport);
    other.disconnect();
  }
  held("pictures go over either transport alone");

  const same = messageId();
  const first = await ask(socket, "message", { room: "workshop", id: same, text: "Only once" });
  const again = await ask(socket, "message", { room: "workshop", id: same, text: "Only once" });
  assert.deepEqual(again, first);
  await sees(ann, "Only once");
  assert.equal(await withText(ann, "Only once").count(), 1);
  held("a message sent twice is there once");
  socket.disconnect();

  const rude = (await nodeClient("Rude", "rough-house")).socket;
  const message = (fields) => ({ room: "rough-house", id: messageId(), text: "x", ...fields });
  const bad = [
    ["message", null],
    ["message", [1, [2]]],
    ["message", message({ text: 7 })],
    ["message", message({ text: "" })],
    ["message", message({ id: "../../etc" })],
    ["message", message({ id: 5 })],
    ["message", message({ room: "elsewhere" })],
    ["message", message({ text: "a".repeat(2_001) })],
    ["message", message({}), Buffer.from("#!/bin/sh")],
    ["message", message({}), "not bytes"],
    ["message", message({}), Buffer.concat([small.subarray(0, 8), Buffer.alloc(500_001)])],
    ["join", null],
    ["join", "///"],
    ["join", { toString: "x" }],
  ];
  for (const [event, ...parts] of bad) {
    const refused = await ask(rude, event, ...parts);
    assert.equal(typeof refused.error, "string", JSON.stringify([event, parts[0]]));
    await sleep(120);
  }
  assert.equal(await ask(rude, "picture", 5), undefined);
  rude.emit("typing", { a: 1 }, Buffer.alloc(10));
  rude.emit("message");
  const flood = await Promise.all(
    Array.from({ length: 60 }, () => ask(rude, "message", message({ text: "flood" }))),
  );
  assert.ok(flood.some((one) => one.error) && rude.connected);
  rude.disconnect();

  for (const auth of [undefined, { name: 5 }, { name: " \u202e " }, { name: ["x"] }]) {
    const nobody = io(base, { auth, forceNew: true, reconnection: false });
    const [error] = await once(nobody, "connect_error");
    assert.equal(error.message, "A name is needed");
    assert.deepEqual(error.data, { field: "name" });
    nobody.disconnect();
  }
  held("what makes no sense is refused, and does no harm");
  await peopleAre(ann, ["Ann", "Bo"]);
}

async function otherWaysForPictures(ann, bo) {
  const before = await bo.locator(".picture").count();
  const bytes = Array.from(png(40, 30, (x, y) => [200, Math.round(y * 255), 40]));
  const give = (type) =>
    ann.evaluate(
      ([numbers, name]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(numbers)], "small.png", { type: "image/png" }));
        const target = document.getElementById("draft");
        const options = { bubbles: true, cancelable: true };
        if (name === "paste") target.dispatchEvent(new ClipboardEvent(name, { ...options, clipboardData: data }));
        else target.dispatchEvent(new DragEvent(name, { ...options, dataTransfer: data }));
      },
      [bytes, type],
    );
  await give("dragenter");
  await ann.waitForSelector("#drop", { state: "visible" });
  await give("dragover");
  await give("drop");
  await ann.waitForSelector("#drop", { state: "hidden" });
  await ann.locator("#tray-size", { hasText: "40 × 30" }).waitFor();
  await ann.click("#tray-remove");
  await ann.waitForSelector("#tray", { state: "hidden" });
  await give("paste");
  await ann.waitForSelector("#tray", { state: "visible" });
  await ann.click("#send");
  await until(async () => (await bo.locator(".picture").count()) === before + 1, "the pasted picture");
  assert.deepEqual(await pictureIn(bo), await pictureIn(ann));
  await bo.locator(".picture").last().click();
  await bo.waitForSelector("#viewer", { state: "visible" });
  await bo.keyboard.press("Escape");
  await bo.waitForSelector("#viewer", { state: "hidden" });
  held("pictures can be dropped, pasted, taken back, and looked at");
}

async function retry(ann, bo) {
  // In one go: a driver that types is slow enough for the limit on a busy machine.
  await ann.evaluate(() => {
    const draft = document.getElementById("draft");
    for (let number = 1; number <= 30; number += 1) {
      draft.value = `Quick ${number}`;
      draft.form.requestSubmit();
    }
  });
  const failed = ann.locator('.message[data-state="failed"]');
  await failed.first().waitFor();
  assert.match(await failed.first().locator(".retry").getAttribute("title"), /a bit fast/);
  const text = await failed.first().locator(".text").textContent();
  assert.equal(await withText(bo, text).count(), 0);
  await sleep(1_500);
  await withText(ann, text).locator(".retry").click();
  await delivered(ann, text);
  await sees(bo, text);
  held("what was refused can be tried again");
  await sleep(3_000);
}

async function readingBack(ann, bo) {
  await ann.locator("#log").evaluate((log) => log.scrollTo(0, 0));
  await ann.waitForSelector("#to-newest", { state: "visible" });
  await say(bo, "Down here");
  await ann.locator("#to-newest", { hasText: "1 new" }).waitFor();
  await ann.click("#to-newest");
  await ann.waitForSelector("#to-newest", { state: "hidden" });
  await ann.waitForFunction(() => {
    const log = document.getElementById("log");
    return log.scrollHeight - log.scrollTop - log.clientHeight < 4;
  });
  held("who reads back is told what is new, and stays where he is");
}

async function rooms(ann, bo) {
  await ann.fill("#room-name", "The Attic!");
  await ann.press("#room-name", "Enter");
  await inRoom(ann, "the-attic");
  await ann.waitForSelector("#empty", { state: "visible" });
  await peopleAre(bo, ["Bo"]);
  await notice(bo, "Ann left");
  await say(ann, "Dusty up here");
  await bo.waitForSelector('#rooms [data-room="the-attic"] .dot');
  await bo.click('#rooms [data-room="the-attic"]');
  await inRoom(bo, "the-attic");
  await sees(bo, "Dusty up here");
  await peopleAre(ann, ["Ann", "Bo"]);
  assert.equal(await bo.locator('#rooms [data-room="the-attic"] .dot').count(), 0);
  await ann.waitForFunction(() => document.querySelector('[data-room="the-attic"] .count').textContent.startsWith("2"));
  for (const page of [ann, bo]) {
    await page.click('#rooms [data-room="workshop"]');
    await inRoom(page, "workshop");
  }
  await sees(ann, "Yes, I am.");
  held("rooms can be made and changed, and show where something is new");
}

async function restart(browser) {
  const ann = await open(browser);
  const bo = await open(browser);
  await join(ann, "Ann", "workshop");
  await join(bo, "Bo", "workshop");
  await peopleAre(ann, ["Ann", "Bo"]);
  await say(ann, "Before");
  await sees(bo, "Before");
  for (const page of [ann, bo]) {
    await badge(page, "connected", "websocket");
    await page.evaluate(() => {
      window.sameDocument = true;
    });
  }

  serverMayBeGone = true;
  await please("stop");
  for (const page of [ann, bo]) {
    await badge(page, "reconnecting", "", LONG_WAIT);
    await page.waitForSelector("#banner", { state: "visible" });
  }
  await say(ann, "Written while the server was away");
  await ann.locator('.message[data-state="waiting"]').waitFor();
  held("both pages say that the server is gone");
  await shoot(bo, "reconnecting-wide-light");

  await please("start");
  for (const page of [ann, bo]) {
    await badge(page, "connected", "websocket", LONG_WAIT);
    await notice(page, "You are connected again, back in #workshop", LONG_WAIT);
    await page.waitForSelector("#banner", { state: "hidden" });
    await peopleAre(page, ["Ann", "Bo"]);
  }
  await delivered(ann, "Written while the server was away");
  await sees(bo, "Written while the server was away");
  held("both are back in their room by themselves, and what was written meanwhile was sent");

  await say(bo, "After");
  await sees(ann, "After");
  await delivered(bo, "After");
  await sleep(500);
  serverMayBeGone = false;
  for (const page of [ann, bo]) {
    assert.equal(await page.evaluate(() => window.sameDocument), true);
    await sees(page, "Before");
    assert.equal(await page.locator(".notice", { hasText: "left" }).count(), 0);
    const shown = await badges(page);
    const gone = shown.findIndex((one) => one.startsWith("reconnecting/"));
    assert.ok(shown.indexOf("connected/polling", gone) < shown.indexOf("connected/websocket", gone), shown.join(" "));
  }
  assert.equal(await withText(bo, "Written while the server was away").count(), 1);

  serverMayBeGone = true;
  await ann.context().setOffline(true);
  await badge(ann, "offline");
  await say(ann, "Written on the train");
  await ann.locator('.message[data-state="waiting"]').waitFor();
  await ann.context().setOffline(false);
  await badge(ann, "connected", "websocket");
  await delivered(ann, "Written on the train");
  await sees(bo, "Written on the train");
  await peopleAre(bo, ["Ann", "Bo"]);
  serverMayBeGone = false;
  held("a device that was offline comes back as well");
  held("no page was loaded again, and they chat on", { badges: await badges(ann) });
}

async function keyboard(browser) {
  const page = await open(browser, { ...WIDE, reducedMotion: "reduce" });
  const other = await nodeClient("Node", "quiet");
  const keys = page.keyboard;
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.tagName);
  const tabTo = async (id, key = "Tab") => {
    for (let step = 0; step < 40; step += 1) {
      if ((await focused()) === id) return;
      await keys.press(key);
      await focusIsVisible(page);
    }
    throw new Error(`${id} cannot be reached by ${key}`);
  };

  assert.equal(await focused(), "join-name");
  await keys.press("Enter");
  await page.locator("#join-error", { hasText: "Please enter a name." }).waitFor();
  await keys.type("Kim");
  await tabTo("join-room");
  await keys.press("Control+A");
  await keys.type("quiet");
  await keys.press("Enter");
  await inRoom(page, "quiet");
  await until(async () => (await focused()) === "draft", "the message field has the focus");
  await keys.type("Not a mouse in sight");
  await keys.press("Shift+Enter");
  await keys.type("Two lines");
  await keys.press("Enter");
  await page.locator('.message[data-state="delivered"] .text').waitFor();
  await gets(other.got, "Not a mouse in sight\nTwo lines");
  held("joined and sent by keyboard alone");

  await tabTo("theme", "Shift+Tab");
  const before = await page.getAttribute("html", "data-theme");
  await keys.press("Space");
  assert.notEqual(await page.getAttribute("html", "data-theme"), before);
  assert.equal(await page.evaluate(() => localStorage.getItem("theme")), "dark");
  await tabTo("room-name", "Shift+Tab");
  await keys.type("library");
  await keys.press("Enter");
  await inRoom(page, "library");
  await until(async () => (await focused()) === "draft", "the message field has the focus again");
  await tabTo("skip", "Shift+Tab");
  await keys.press("Enter");
  assert.equal(await focused(), "draft");
  await keys.press("Shift+Tab");
  assert.equal(await focused(), "attach");
  await keys.press("Shift+Tab");
  assert.equal(await focused(), "log");
  held("theme, rooms, the skip link and the list of messages are reached by keyboard");

  await page.reload();
  await inRoom(page, "library");
  assert.equal(await page.getAttribute("html", "data-theme"), "dark");
  assert.equal(await page.inputValue("#join-name"), "Kim");
  held("name and theme are remembered");
  other.socket.disconnect();

  const phone = await open(browser, { ...NARROW, viewport: { width: 360, height: 640 } });
  await join(phone, "Lee", "library");
  await phone.click("#side-open");
  await phone.waitForSelector("#side", { state: "visible" });
  await until(() => phone.evaluate(() => document.activeElement.id === "side-close"), "the focus is in the list");
  await phone.keyboard.press("Escape");
  await phone.waitForSelector("#side", { state: "hidden" });
  await until(() => phone.evaluate(() => document.activeElement.id === "side-open"), "the focus is back");
  held("on a phone the list opens and closes, and takes the focus along");
}

async function focusIsVisible(page) {
  const seen = await page.evaluate(() => {
    const rings = [];
    for (let at = document.activeElement; at && at !== document.body; at = at.parentElement) {
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(at);
      if (at === document.activeElement && outlineStyle !== "none" && parseFloat(outlineWidth) >= 2) return true;
      rings.push(boxShadow);
    }
    return document.activeElement === document.body || rings.slice(0, 3).some((ring) => ring.includes("3px"));
  });
  const where = await page.evaluate(() => document.activeElement.outerHTML.slice(0, 120));
  assert.ok(seen, `focus cannot be seen on ${where}`);
}

async function shoot(page, name) {
  mkdirSync(artefacts, { recursive: true });
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: pathOf(artefacts, `${name}.png`), animations: "disabled" });
}

async function fitsItsWidth(page) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(content <= window, `the page is ${content} px wide in a window of ${window}`);
}

async function screenshots(browser) {
  const shots = [
    ["lobby", "wide", "light", WIDE],
    ["ideas", "wide", "dark", WIDE],
    ["garden", "narrow", "light", NARROW],
    ["music", "narrow", "dark", NARROW],
  ];
  const picture = png(960, 600, evening);
  for (const [room, width, theme, options] of shots) {
    const mira = await nodeClient("Mira Okafor", room);
    const tom = await nodeClient("Tom", room);
    const says = async ({ socket }, text, size, ...parts) => {
      assert.ok((await ask(socket, "message", { room, id: messageId(), text, ...size }, ...parts)).at);
    };
    await says(mira, "Morning! The new build is up.");
    await says(mira, "Same address as before.");
    await says(tom, "Works here, on the phone too. I took this on the way in:", { width: 960, height: 600 }, picture);
    await says(mira, "Lovely light.");

    const page = await open(browser, { ...options, colorScheme: theme });
    await shoot(page, `join-${width}-${theme}`);
    await fitsItsWidth(page);
    await join(page, "Ann", room);
    await badge(page, "connected", "websocket");
    await pictureIn(page);
    await say(page, "Where was that?");
    await delivered(page, "Where was that?");
    const answer = "By the canal, behind the old mill. The path is open again, all the way to the bridge.";
    await says(tom, answer);
    await sees(page, answer);
    await say(page, "I will go and look.");
    await delivered(page, "I will go and look.");
    await until(async () => {
      mira.socket.emit("typing");
      await sleep(500);
      return (await page.locator("#typing.on").count()) > 0;
    }, "typing is shown");
    await fitsItsWidth(page);
    await shoot(page, `chat-${width}-${theme}`);
    assert.equal((await names(page))[0], "Ann");

    if (width === "narrow") {
      await page.click("#side-open");
      await page.waitForSelector("#side", { state: "visible" });
      await sleep(400);
      await shoot(page, `side-${width}-${theme}`);
      await page.click("#side-close");
      await page.waitForSelector("#side", { state: "hidden" });
    } else {
      await page.fill("#room-name", "Quiet corner");
      await page.press("#room-name", "Enter");
      await inRoom(page, "quiet-corner");
      await page.setInputFiles("#file", { name: "evening.png", mimeType: "image/png", buffer: picture });
      await page.waitForSelector("#tray", { state: "visible" });
      await shoot(page, `empty-${width}-${theme}`);
    }
    held(`screenshots, ${width} and ${theme}`);
    await page.context().close();
    mira.socket.disconnect();
    tom.socket.disconnect();
  }
  const small = await open(browser, { ...NARROW, viewport: { width: 360, height: 640 } });
  await join(small, "A person with long names", "a-room-with-quite-a-long-name");
  await say360(small);
  await fitsItsWidth(small);
  await shoot(small, "chat-360-light");
  held("nothing is wider than a window of 360 px");
}

async function say360(page) {
  await say(page, `${"unbroken".repeat(20)}`);
  await delivered(page, `${"unbroken".repeat(20)}`);
  await say(page, "See https://example.com/a/rather/long/path?with=a&long=query for more.");
  await page.locator(".message a").waitFor();
}

async function requestResponse(browser) {
  const page = await open(browser);
  await page.locator("#lines li", { hasText: 'Send event "request": {"data":"Send Request"}' }).waitFor();
  await page.locator("#lines li", { hasText: 'Receive event "response": {"data":"Receive Respond"}' }).waitFor();
  await page.click("#again");
  await page.locator("#lines li", { hasText: 'Receive event "response"' }).nth(1).waitFor();
  const id = (await page.locator("#lines li").first().textContent()).split(" ").at(-1);
  held("the page got a response to each request", { id });
}

const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, headless: true, args: flags, timeout: LONG_WAIT });
try {
  await scenarios[scenario](browser);
  assert.deepEqual(complaints, []);
  held("no page complained");
} catch (error) {
  console.error(error.stack);
  console.error(["complaints:", ...complaints].join("\n"));
  process.exitCode = 1;
  let number = 0;
  for (const context of browser.contexts()) {
    for (const page of context.pages()) await shoot(page, `failed-${scenario}-${(number += 1)}`).catch(() => undefined);
  }
} finally {
  await browser.close();
  process.exit();
}

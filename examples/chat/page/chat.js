// The chat's state and its socket: what is known of rooms, people and messages, and how it gets onto the page.

import { Log } from "./log.js";
import { avatar, find, listText, make, remember, remembered, sizeText, timeText } from "./parts.js";
import { PictureError, prepared } from "./pictures.js";

const ANSWER_TIME = 10_000; // ms
const TYPING_SHOWN = 3_500;
const TYPING_EVERY = 1_500;
const LEFT_NOTICE_AFTER = 4_000; // a page that is loaded again is away for less
const KNOWN_FOR = 20_000; // who comes back within it, ours or his connection having broken, makes no notice

const narrow = window.matchMedia("(max-width: 760px)");
const withPointer = window.matchMedia("(hover: hover)");

const randomId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

// A tab is a person: its key lives as long as the tab does.
const key = remembered("sessionStorage", "person") || randomId();
remember("sessionStorage", "person", key);

let me = { id: "", name: remembered("localStorage", "name") };
let wanted = "";
let current = "";
let entered = false; // in the room, on this connection
let wasHere = false; // in a room, on an earlier connection
let replaced = false;
let attempts = 0;
let lastTyping = 0;
let unseen = 0;
let attached = null;

const rooms = new Map(); // name -> {name, people, activity}
const people = new Map(); // id -> {id, name}, of the current room
const entries = new Map(); // room name -> its messages and notices
const lastSeen = new Map(); // id -> when somebody known was here
const leaving = new Map(); // id -> timer of his notice
const typingUntil = new Map(); // id -> when it ends

const socket = globalThis.io({
  autoConnect: false,
  auth: (give) => give({ name: me.name, key }),
  reconnectionDelay: 400,
  reconnectionDelayMax: 3_000,
  timeout: 8_000,
});

const log = new Log({
  scroller: find("log"),
  list: find("messages"),
  toNewest: find("to-newest"),
  toNewestText: find("to-newest-text"),
  isMine: (entry) => entry.kind === "message" && entry.author.id === me.id,
  retry: deliver,
  fetchPicture,
  viewPicture,
});

// The connection

socket.io.on("open", () => {
  const { engine } = socket.io;
  showTransport(engine.transport.name);
  engine.on("upgrade", (transport) => showTransport(transport.name));
});

socket.io.on("reconnect_attempt", (number) => {
  attempts = number;
  if (!socket.connected) showState(navigator.onLine ? "reconnecting" : "offline");
});

socket.on("connect", () => {
  attempts = 0;
  showState("connected");
});

socket.on("connect_error", (error) => {
  if (socket.active) {
    showState(navigator.onLine ? (wasHere ? "reconnecting" : "connecting") : "offline");
    if (!wasHere) joinProblem("The server does not answer yet. Trying again…", false);
    return;
  }
  backToJoin();
  joinProblem(error.message);
});

socket.on("disconnect", (reason) => {
  entered = false;
  clearTyping();
  // Who had just left may be back before we are, and nobody would tell us so.
  for (const [id, timer] of leaving) {
    clearTimeout(timer);
    lastSeen.set(id, Date.now());
  }
  leaving.clear();
  if (reason === "io client disconnect") return;
  if (reason === "io server disconnect") {
    showState(replaced ? "elsewhere" : "reconnecting");
    find("elsewhere").hidden = !replaced;
    find("chat").inert = replaced;
    if (replaced) find("here").focus();
    else socket.connect();
    return;
  }
  showState(navigator.onLine ? "reconnecting" : "offline");
});

window.addEventListener("offline", () => socket.connected || !wanted || showState("offline"));
window.addEventListener("online", tryNow);
find("banner-button").addEventListener("click", tryNow);

function tryNow() {
  if (socket.connected || !wanted || replaced) return;
  socket.disconnect().connect();
  showState(wasHere ? "reconnecting" : "connecting");
}

find("here").addEventListener("click", () => {
  replaced = false;
  find("elsewhere").hidden = true;
  find("chat").inert = false;
  showState("reconnecting");
  socket.connect();
});

function showState(state) {
  const badge = find("badge");
  const words = {
    connecting: "connecting…",
    connected: badge.dataset.transport,
    reconnecting: attempts > 1 ? `reconnecting… ${attempts}` : "reconnecting…",
    offline: "offline",
    elsewhere: "paused",
  };
  badge.dataset.state = state;
  badge.title = state === "connected" ? `Connected over ${badge.dataset.transport}` : "";
  find("badge-text").textContent = words[state];
  find("me-state").textContent = state === "connected" ? "connected" : words[state];

  const text = {
    reconnecting: "The connection is lost. Reconnecting…",
    offline: "This device is offline. What you write is sent later.",
  }[state];
  find("banner").hidden = !text || !wasHere;
  find("banner-button").hidden = state === "offline";
  if (text && find("banner-text").textContent !== text) find("banner-text").textContent = text;
  if (state !== "connected") find("badge-from").textContent = "";
}

function showTransport(name) {
  const badge = find("badge");
  const upgraded = badge.dataset.transport === "polling" && name !== "polling" && badge.dataset.state === "connected";
  badge.dataset.transport = name;
  find("badge-from").textContent = upgraded ? "polling →" : "";
  badge.classList.toggle("upgraded", upgraded);
  showState("connected");
  if (upgraded) {
    setTimeout(() => {
      badge.classList.remove("upgraded");
      find("badge-from").textContent = "";
    }, 4_000);
  }
}

// Coming in

find("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = find("join-name").value.trim();
  if (!name) {
    joinProblem("Please enter a name.");
    find("join-name").focus();
    return;
  }
  me.name = name;
  wanted = find("join-room").value.trim() || "lobby";
  remember("localStorage", "name", name);
  comeIn();
});

function comeIn() {
  joinProblem("", false);
  find("join-button").disabled = true;
  find("join-button").textContent = "Joining…";
  showState("connecting");
  socket.connect();
}

function joinProblem(text, done = true) {
  find("join-error").textContent = text;
  if (!done) return;
  find("join-button").disabled = false;
  find("join-button").textContent = "Join the chat";
}

function backToJoin() {
  wanted = "";
  current = "";
  entered = false;
  wasHere = false;
  remember("sessionStorage", "room", "");
  closeSide();
  find("chat").hidden = true;
  find("join").hidden = false;
  joinProblem("");
  find("join-name").focus();
  showTitle();
}

find("leave").addEventListener("click", () => {
  socket.disconnect();
  backToJoin();
});

socket.on("welcome", (person, summaries) => {
  me = person;
  rooms.clear();
  for (const room of summaries) rooms.set(room.name, { ...room, activity: false });
  find("me-name").textContent = me.name;
  find("me-avatar").replaceChildren(face(me));
  showRooms();
  enter(current || wanted);
});

socket.on("replaced", () => {
  replaced = true;
});

async function enter(name) {
  wanted = name;
  let answer;
  try {
    answer = await socket.timeout(ANSWER_TIME).emitWithAck("join", name);
  } catch {
    // A broken connection comes back by itself, and enters again.
    if (socket.connected) toast("The server did not answer. Try again.");
    return;
  }
  if (wanted !== name) return;
  if (answer.error) {
    wanted = current;
    if (current) return toast(answer.error);
    socket.disconnect();
    backToJoin();
    joinProblem(answer.error);
    return;
  }
  isIn(answer);
}

function isIn(answer) {
  const again = wasHere && answer.room === current;
  const now = Date.now();
  if (again) for (const id of people.keys()) lastSeen.set(id, now);
  else forgetPresence();
  current = answer.room;
  wanted = current;
  entered = true;
  wasHere = true;
  remember("sessionStorage", "room", current);
  if (location.hash !== `#/${encodeURIComponent(current)}`) {
    history.replaceState(null, "", `#/${encodeURIComponent(current)}`);
  }
  people.clear();
  for (const person of answer.people) people.set(person.id, person);
  const room = rooms.get(current);
  if (room) room.activity = false;

  merge(current, answer.messages);
  if (again) entries.get(current).push(notice(`You are connected again, back in #${current}`));
  find("join").hidden = true;
  find("chat").hidden = false;
  find("room-title").textContent = current;
  find("draft").placeholder = `Message #${current}`;
  find("log").setAttribute("aria-label", `Messages in ${current}`);
  log.show(entries.get(current));
  showEmpty();
  showRooms();
  showPeople();
  showTitle();
  joinProblem("");
  if (!again) {
    closeSide();
    if (withPointer.matches) find("draft").focus();
  }
  for (const entry of entries.get(current)) if (entry.state === "waiting") deliver(entry);
}

function merge(room, messages) {
  const known = entries.get(room) ?? [];
  const ids = new Set(known.map((entry) => entry.id));
  const missing = messages.filter((entry) => !ids.has(entry.id)).map((entry) => ({ ...entry, kind: "message" }));
  entries.set(room, [...known, ...missing].sort((one, other) => one.at - other.at));
  const kept = new Set(messages.map((entry) => entry.id));
  for (const entry of known) {
    // The answer was lost with the connection, yet the message had arrived.
    if (entry.state && entry.state !== "delivered" && kept.has(entry.id)) entry.state = "delivered";
  }
}

// Rooms

socket.on("room", (summary) => {
  rooms.set(summary.name, { activity: false, ...rooms.get(summary.name), ...summary });
  showRooms();
});

socket.on("room closed", (name) => {
  rooms.delete(name);
  if (name !== current) entries.delete(name);
  showRooms();
});

socket.on("activity", (name) => {
  const room = rooms.get(name);
  if (!room || name === current || room.activity) return;
  room.activity = true;
  showRooms();
});

find("room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = find("room-name").value.trim();
  if (!name || !socket.connected) return;
  find("room-name").value = "";
  enter(name);
});

find("rooms").addEventListener("click", (event) => {
  const name = event.target.closest("button")?.dataset.room;
  if (!name) return;
  if (name === current) closeSide();
  else if (socket.connected) enter(name);
});

window.addEventListener("hashchange", () => {
  const name = roomInAddress();
  if (entered && name && name !== current) enter(name);
});

function roomInAddress() {
  try {
    return decodeURIComponent(location.hash.match(/^#\/(.+)$/)?.[1] ?? "");
  } catch {
    return "";
  }
}

function showRooms() {
  const focused = document.activeElement?.dataset?.room;
  const items = Array.from(rooms.values(), (room) => {
    const button = make("button", { type: "button", "data-room": room.name });
    if (room.name === current) button.setAttribute("aria-current", "true");
    button.append(make("span", { class: "hash", "aria-hidden": "true" }, "#"));
    button.append(make("span", { class: "name" }, room.name));
    if (room.activity) button.append(make("span", { class: "dot" }, make("span", { class: "unseen" }, "new messages")));
    if (room.people) {
      button.append(make("span", { class: "count" }, String(room.people), make("span", { class: "unseen" }, " here")));
    }
    return make("li", {}, button);
  });
  find("rooms").replaceChildren(...items);
  if (focused) items.map((item) => item.firstChild).find((button) => button.dataset.room === focused)?.focus();
  find("side-dot").hidden = !Array.from(rooms.values()).some((room) => room.activity);
}

// People

socket.on("joined", (room, person) => {
  if (room !== current) return;
  people.set(person.id, person);
  const wasLeaving = leaving.has(person.id);
  clearTimeout(leaving.get(person.id));
  leaving.delete(person.id);
  const known = Date.now() - (lastSeen.get(person.id) ?? 0) < KNOWN_FOR;
  lastSeen.delete(person.id);
  if (!wasLeaving && !known && person.id !== me.id) add(room, notice(`${person.name} joined`));
  showPeople();
});

socket.on("left", (room, person) => {
  if (room !== current) return;
  people.delete(person.id);
  typingUntil.delete(person.id);
  showTyping();
  showPeople();
  clearTimeout(leaving.get(person.id));
  const timer = setTimeout(() => {
    leaving.delete(person.id);
    if (room === current) add(room, notice(`${person.name} left`));
  }, LEFT_NOTICE_AFTER);
  leaving.set(person.id, timer);
});

socket.on("typing", (room, id) => {
  if (room !== current || !people.has(id)) return;
  typingUntil.set(id, Date.now() + TYPING_SHOWN);
  showTyping();
});

function forgetPresence() {
  for (const timer of leaving.values()) clearTimeout(timer);
  leaving.clear();
  lastSeen.clear();
  clearTyping();
}

function clearTyping() {
  typingUntil.clear();
  showTyping();
}

let typingTimer = 0;

function showTyping() {
  clearTimeout(typingTimer);
  const now = Date.now();
  for (const [id, until] of typingUntil) if (until <= now) typingUntil.delete(id);
  const names = Array.from(typingUntil.keys(), (id) => people.get(id)?.name).filter(Boolean);
  const line = find("typing");
  line.classList.toggle("on", names.length > 0);
  if (names.length) {
    const words = make("span", {}, `${listText(names)} ${names.length > 1 ? "are" : "is"} typing`);
    line.replaceChildren(make("span", { class: "dots" }, make("i"), make("i"), make("i")), words);
    typingTimer = setTimeout(showTyping, Math.min(...typingUntil.values()) - now + 20);
  } else {
    line.replaceChildren();
  }
  for (const item of find("people").children) item.classList.toggle("types", typingUntil.has(item.dataset.id));
}

function face(person) {
  const element = avatar(person);
  element.classList.toggle("own", person.id === me.id);
  return element;
}

function showPeople() {
  const others = Array.from(people.values()).filter((person) => person.id !== me.id);
  others.sort((one, other) => one.name.localeCompare(other.name));
  const items = [me, ...others].map((person) => {
    const item = make("li", { "data-id": person.id }, face(person), make("span", { class: "name" }, person.name));
    if (person.id === me.id) item.append(make("small", {}, "you"));
    else item.append(make("span", { class: "dots", "aria-hidden": "true" }, make("i"), make("i"), make("i")));
    item.classList.toggle("types", typingUntil.has(person.id));
    return item;
  });
  find("people").replaceChildren(...items);
  find("room-people").textContent = others.length ? `${others.length + 1} people here` : "Only you are here";
}

// Messages

function notice(text) {
  return { kind: "notice", id: randomId(), at: Date.now(), text };
}

function add(room, entry) {
  if (!entries.has(room)) entries.set(room, []);
  const list = entries.get(room);
  if (list.some((other) => other.id === entry.id)) return;
  if (room === current) log.add(entry);
  else list.push(entry);
  showEmpty();
}

socket.on("message", (room, sent, bytes) => {
  const entry = { ...sent, kind: "message" };
  if (bytes) entry.url = URL.createObjectURL(new Blob([bytes], { type: entry.picture.kind }));
  typingUntil.delete(entry.author.id);
  showTyping();
  add(room, entry);
  if (document.hidden) {
    unseen += 1;
    showTitle();
  }
});

async function fetchPicture(entry) {
  try {
    const bytes = await socket.timeout(ANSWER_TIME).emitWithAck("picture", entry.id);
    return bytes ? URL.createObjectURL(new Blob([bytes], { type: entry.picture.kind })) : undefined;
  } catch {
    return undefined;
  }
}

async function deliver(entry) {
  if (!entered || entry.room !== current) {
    entry.state = "waiting";
    log.update(entry);
    return;
  }
  entry.state = "sending";
  log.update(entry);
  const sent = { room: entry.room, id: entry.id.split(".")[1], text: entry.text };
  if (entry.picture) Object.assign(sent, { width: entry.picture.width, height: entry.picture.height });
  const parts = entry.bytes ? [sent, entry.bytes] : [sent];
  try {
    const answer = await socket.timeout(ANSWER_TIME).emitWithAck("message", ...parts);
    entry.state = answer.error ? "failed" : "delivered";
    entry.why = answer.error;
    if (!answer.error) {
      entry.at = answer.at;
      entry.bytes = undefined;
    }
  } catch {
    entry.state = socket.connected ? "failed" : "waiting";
    entry.why = undefined;
  }
  log.update(entry);
}

async function send() {
  const text = find("draft").value.trim();
  if (!text && !attached) return;
  const entry = {
    kind: "message",
    id: `${me.id}.${randomId()}`,
    room: current,
    author: me,
    at: Date.now(),
    text,
    state: "sending",
  };
  const picture = attached;
  if (picture) {
    Object.assign(entry, { url: picture.url, bytes: picture.bytes });
    entry.picture = { kind: picture.type, width: picture.width, height: picture.height };
    attached = null;
    showTray();
  }
  find("draft").value = "";
  lastTyping = 0;
  fitDraft();
  add(current, entry);
  await deliver(entry);
}

function showEmpty() {
  const list = entries.get(current) ?? [];
  const empty = !list.some((entry) => entry.kind === "message");
  find("empty").hidden = !empty;
  find("empty-title").textContent = `This is the start of #${current}`;
  const alone = "Say hello, or open this page a second time and talk to yourself.";
  find("empty-text").textContent = people.size > 1 ? "Say hello." : alone;
}

function showTitle() {
  document.title = current ? `${unseen ? `(${unseen}) ` : ""}#${current}` : "Chat";
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unseen = 0;
  showTitle();
});

setInterval(() => {
  for (const time of document.querySelectorAll("time[data-at]")) time.textContent = timeText(Number(time.dataset.at));
}, 20_000);

// Writing

const draft = find("draft");

find("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
  draft.focus();
});

draft.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});

draft.addEventListener("input", () => {
  fitDraft();
  if (!draft.value || Date.now() - lastTyping < TYPING_EVERY || !entered) return;
  lastTyping = Date.now();
  socket.volatile.emit("typing");
});

function fitDraft() {
  draft.style.height = "auto";
  draft.style.height = `${Math.min(draft.scrollHeight, 168)}px`;
  showSend();
}

function showSend() {
  find("send").classList.toggle("ready", Boolean(draft.value.trim() || attached));
}

find("skip").addEventListener("click", (event) => {
  event.preventDefault();
  draft.focus();
});

// Pictures

let attaching = 0;

async function attach(file) {
  if (!file || !current) return;
  attaching += 1;
  const turn = attaching;
  try {
    const { blob, width, height } = await prepared(file);
    const bytes = await blob.arrayBuffer();
    if (turn !== attaching) return;
    dropAttached();
    const url = URL.createObjectURL(blob);
    attached = { bytes, width, height, type: blob.type, url, name: file.name || "Picture" };
  } catch (error) {
    if (!(error instanceof PictureError)) throw error;
    toast(error.message);
  }
  showTray();
  draft.focus();
}

function dropAttached() {
  if (attached) URL.revokeObjectURL(attached.url);
  attached = null;
}

function showTray() {
  find("tray").hidden = !attached;
  if (attached) {
    find("tray-picture").src = attached.url;
    find("tray-name").textContent = attached.name;
    find("tray-size").textContent = `${attached.width} × ${attached.height}, ${sizeText(attached.bytes.byteLength)}`;
  } else {
    find("tray-picture").removeAttribute("src");
  }
  showSend();
}

find("attach").addEventListener("click", () => find("file").click());

find("file").addEventListener("change", () => {
  attach(find("file").files[0]);
  find("file").value = "";
});

find("tray-remove").addEventListener("click", () => {
  attaching += 1;
  dropAttached();
  showTray();
  draft.focus();
});

document.addEventListener("paste", (event) => {
  const file = Array.from(event.clipboardData?.files ?? []).find((one) => one.type.startsWith("image/"));
  if (!file || find("chat").hidden) return;
  event.preventDefault();
  attach(file);
});

let dragDepth = 0;
const dragsFile = (event) => event.dataTransfer?.types.includes("Files") && !find("chat").hidden;

window.addEventListener("dragenter", (event) => {
  if (!dragsFile(event)) return;
  dragDepth += 1;
  find("drop").hidden = false;
});

window.addEventListener("dragleave", (event) => {
  if (!dragsFile(event)) return;
  dragDepth = Math.max(0, dragDepth - 1);
  find("drop").hidden = dragDepth === 0;
});

window.addEventListener("dragover", (event) => {
  if (dragsFile(event)) event.preventDefault();
});

window.addEventListener("drop", (event) => {
  if (!dragsFile(event)) return;
  event.preventDefault();
  dragDepth = 0;
  find("drop").hidden = true;
  attach(event.dataTransfer.files[0]);
});

function viewPicture(entry) {
  find("viewer-picture").src = entry.url;
  find("viewer-picture").alt = `Picture from ${entry.author.name}`;
  find("viewer").showModal();
}

find("viewer").addEventListener("click", () => find("viewer").close());

// The page around it

function openSide() {
  document.body.dataset.side = "open";
  showSide();
  find("side-close").focus();
}

function closeSide() {
  const wasOpen = document.body.dataset.side === "open";
  delete document.body.dataset.side;
  showSide();
  if (wasOpen && narrow.matches) find("side-open").focus();
}

function showSide() {
  const open = document.body.dataset.side === "open";
  find("side").inert = narrow.matches && !open;
  find("room").inert = narrow.matches && open;
  find("side-open").setAttribute("aria-expanded", String(open));
}

find("side-open").addEventListener("click", openSide);
find("side-close").addEventListener("click", closeSide);
find("shade").addEventListener("click", closeSide);
narrow.addEventListener("change", closeSide);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.dataset.side === "open") closeSide();
});

const darkSystem = window.matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : darkSystem.matches;
}

function showTheme() {
  const button = find("theme");
  const label = isDark() ? "Use the light theme" : "Use the dark theme";
  button.setAttribute("aria-label", label);
  button.title = label;
  button.querySelector("use").setAttribute("href", isDark() ? "#i-sun" : "#i-moon");
  const colour = getComputedStyle(document.body).backgroundColor;
  document.querySelector("meta[name=theme-color]").content = colour;
}

find("theme").addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  const asSystem = (theme === "dark") === darkSystem.matches;
  if (asSystem) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  remember("localStorage", "theme", asSystem ? "" : theme);
  showTheme();
});

darkSystem.addEventListener("change", showTheme);

let toastTimer = 0;

function toast(text) {
  clearTimeout(toastTimer);
  find("toast").textContent = text;
  find("toast").hidden = false;
  toastTimer = setTimeout(() => {
    find("toast").hidden = true;
  }, 5_000);
}

// Where the on-screen keyboard covers the page instead of resizing it, only this tells how much is left.
function fitHeight() {
  const height = window.visualViewport?.height;
  if (height) document.documentElement.style.setProperty("--height", `${height}px`);
}

window.visualViewport?.addEventListener("resize", fitHeight);
fitHeight();
showTheme();
showSide();

find("join-name").value = me.name;
find("join-room").value = roomInAddress() || remembered("sessionStorage", "room") || "lobby";
if (me.name && remembered("sessionStorage", "room")) {
  wanted = find("join-room").value;
  comeIn();
} else {
  (me.name ? find("join-button") : find("join-name")).focus();
}

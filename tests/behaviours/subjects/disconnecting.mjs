import assert from "node:assert/strict";

import { collect, fence, leave, next, opened, request, sleep, until } from "../context.mjs";

const connect = (ctx) => ctx.connect("/leaving");

// The reason which both events of the server gave, after asserting that they came in order, once each.
async function serverReason(ctx, id) {
  const notes = await ctx.notes(`leaving ${id}`, 2);
  const [[, reason]] = notes;
  assert.deepEqual(notes, [
    ["disconnecting", reason, true],
    ["disconnect", reason, false],
  ]);
  return reason;
}

async function severalNamespaces(ctx, ...names) {
  const manager = ctx.manager();
  const sockets = await Promise.all(names.map((name) => opened(manager.socket(name))));
  return { manager, sockets, ids: sockets.map(({ id }) => id) };
}

export const disconnecting = {
  async client_leaves(ctx) {
    const socket = await connect(ctx);
    const { id } = socket;
    const left = next(socket, "disconnect");
    socket.disconnect();
    assert.equal((await left)[0], "io client disconnect");
    assert.equal(await serverReason(ctx, id), "client namespace disconnect");
  },

  async what_was_sent_before_leaving_still_counts(ctx) {
    const socket = await connect(ctx);
    const { id } = socket;
    await ctx.settled(socket);
    socket.emit("work");
    socket.disconnect();
    await ctx.notes(`work began ${id}`);
    assert.equal(await serverReason(ctx, id), "client namespace disconnect");
  },

  async server_shows_out(ctx) {
    const socket = await connect(ctx);
    const { id } = socket;
    const words = collect(socket, "last words");
    const left = next(socket, "disconnect");
    socket.emit("show me out", false);
    assert.equal((await left)[0], "io server disconnect");
    assert.equal(words.length, 1);
    assert.equal(await serverReason(ctx, id), "server namespace disconnect");
    assert.deepEqual(await ctx.notes(`shown out ${id}`), [false]);
    await leave(socket);
    await opened(socket);
    await fence(socket);
  },

  async server_shows_out_of_one_namespace_only(ctx) {
    const {
      manager,
      sockets: [one, other],
    } = await severalNamespaces(ctx, "/leaving", "/leaving-too");
    const left = next(one, "disconnect");
    one.emit("show me out", false);
    await left;
    await fence(other);
    assert.equal(other.connected, true);
    assert.equal(manager.engine.readyState, "open");
  },

  async server_closes_the_whole_connection(ctx) {
    const { manager, sockets, ids } = await severalNamespaces(ctx, "/leaving", "/leaving-too");
    const reasons = sockets.map((socket) => next(socket, "disconnect"));
    const closed = next(manager, "close");
    manager._close = () => {}; // left without sockets a manager would close the connection by itself
    sockets[0].emit("show me out", true);
    for (const [reason] of await Promise.all(reasons)) assert.equal(reason, "io server disconnect");
    assert.equal((await closed)[0], "transport close");
    for (const id of ids) assert.equal(await serverReason(ctx, id), "server namespace disconnect");
  },

  async answer_arrives_before_being_shown_out(ctx) {
    const socket = await connect(ctx);
    const left = next(socket, "disconnect");
    assert.deepEqual(await request(socket, "answer and show me out"), ["answer"]);
    assert.equal((await left)[0], "io server disconnect");
  },

  async shown_out_at_once(ctx) {
    const socket = ctx.socket("/leaving-at-once");
    const order = [];
    for (const event of ["connect", "sorry", "disconnect"]) socket.on(event, () => order.push(event));
    const left = next(socket, "disconnect");
    await opened(socket);
    assert.equal((await left)[0], "io server disconnect");
    assert.deepEqual(order, ["connect", "sorry", "disconnect"]);
  },

  async shown_out_at_once_and_for_good(ctx) {
    const socket = ctx.socket("/leaving-at-once-and-for-good", { reconnection: true });
    const order = [];
    for (const event of ["connect", "sorry", "disconnect"]) socket.on(event, () => order.push(event));
    const left = next(socket, "disconnect");
    await opened(socket);
    assert.equal((await left)[0], "io server disconnect");
    await sleep(300); // a client that took it for a broken transport would be back by now
    assert.deepEqual(order, ["connect", "sorry", "disconnect"]);
  },

  async closing_the_transport(ctx) {
    const socket = await connect(ctx);
    await ctx.settled(socket);
    const { id } = socket;
    const left = next(socket, "disconnect");
    socket.io.engine.close();
    assert.equal((await left)[0], "forced close");
    assert.equal(await serverReason(ctx, id), "transport close");
  },

  async closing_the_transport_ends_every_namespace(ctx) {
    const { manager, sockets, ids } = await severalNamespaces(ctx, "/leaving", "/leaving-too");
    await ctx.settled(sockets[0]);
    manager.engine.close();
    for (const id of ids) assert.equal(await serverReason(ctx, id), "transport close");
  },

  async reconnecting_after_the_transport_closed(ctx) {
    const socket = await ctx.connect("/leaving", { reconnection: true });
    await ctx.settled(socket);
    const { id } = socket;
    const engineId = socket.io.engine.id;
    const again = next(socket, "connect");
    const attempts = collect(socket.io, "reconnect");
    socket.io.engine.close();
    await again;
    assert.notEqual(socket.id, id);
    assert.notEqual(socket.io.engine.id, engineId);
    assert.deepEqual(attempts, [[1]]);
    await fence(socket);
    assert.equal(await serverReason(ctx, id), "transport close");
  },

  async clearing_a_room(ctx) {
    const sockets = await ctx.connectMany(3, "/leaving");
    const room = `cleared ${sockets[0].id}`;
    for (const socket of sockets.slice(0, 2)) socket.emit("join", room);
    await fence(...sockets);
    const reasons = sockets.slice(0, 2).map((socket) => next(socket, "disconnect"));
    sockets[2].emit("clear the room", room, false);
    for (const [reason] of await Promise.all(reasons)) assert.equal(reason, "io server disconnect");
    await fence(sockets[2]);
    const [here] = await request(sockets[2], "who is here");
    assert.ok(here.includes(sockets[2].id));
  },

  async clearing_a_room_and_closing_connections(ctx) {
    const [one, other] = await ctx.connectMany(2, "/leaving");
    const { id } = one;
    one.emit("join", `closed ${id}`);
    await fence(one);
    const closed = next(one.io, "close");
    one.io._close = () => {};
    other.emit("clear the room", `closed ${id}`, true);
    assert.equal((await closed)[0], "transport close");
    assert.equal(await serverReason(ctx, id), "server namespace disconnect");
    await fence(other);
  },

  async fetched_socket_is_shown_out(ctx) {
    const [one, other] = await ctx.connectMany(2, "/leaving");
    const left = next(one, "disconnect");
    other.emit("show out", one.id);
    assert.equal((await left)[0], "io server disconnect");
  },

  async who_left_is_not_listed(ctx) {
    const [one, other] = await ctx.connectMany(2, "/leaving");
    const { id } = one;
    assert.ok((await request(other, "who is here"))[0].includes(id));
    one.disconnect();
    await serverReason(ctx, id);
    assert.ok(!(await request(other, "who is here"))[0].includes(id));
  },

  async handlers_outlive_the_connection(ctx) {
    const socket = await connect(ctx);
    const { id } = socket;
    socket.emit("work");
    await ctx.notes(`work began ${id}`);
    socket.disconnect();
    assert.deepEqual(await ctx.notes(`work ended ${id}`), [["finished", false]]);
  },

  async cancel_on_disconnect_cancels_handlers(ctx) {
    const socket = await ctx.connect("/", { server: "cancelling" });
    const { id } = socket;
    socket.emit("work");
    await ctx.notes(`work began ${id}`);
    socket.disconnect();
    assert.deepEqual(await ctx.notes(`work ended ${id}`), [["cancelled", false]]);
  },

  async waiting_for_the_disconnect(ctx) {
    const socket = await connect(ctx);
    const { id } = socket;
    socket.emit("wait for the end");
    await ctx.notes(`waiting began ${id}`);
    await sleep(50);
    assert.deepEqual(await ctx.notes(`waiting ended ${id}`, 0), []);
    socket.disconnect();
    assert.deepEqual(await ctx.notes(`waiting ended ${id}`), [false]);
  },

  async server_closes_without_a_disconnect_packet(ctx) {
    const sockets = await ctx.connectMany(3, "/", { server: "closing" });
    await Promise.all(sockets.map((socket) => ctx.settled(socket)));
    const ids = sockets.map(({ id }) => id);
    const packets = [];
    for (const socket of sockets) socket.io.on("packet", ({ type }) => packets.push(type));
    const reasons = sockets.map((socket) => next(socket, "disconnect"));
    await ctx.ask("close the server");
    for (const [reason] of await Promise.all(reasons)) assert.equal(reason, "transport close");
    // Of workers that close at about the same time, one that carried a WebSocket for another may be the first.
    const told = ["server shutting down", ...(ctx.hosting === "uvicorn-workers" ? ["transport close"] : [])];
    for (const id of ids) assert.ok(told.includes(await serverReason(ctx, id)));
    assert.deepEqual(packets, []);
  },

  async ids_are_gone_after_the_end(ctx) {
    const socket = await connect(ctx);
    socket.disconnect();
    assert.equal(socket.id, undefined);
    assert.equal(socket.connected, false);
    assert.equal(socket.disconnected, true);
    await until(() => socket.io.engine.readyState === "closed");
  },
};

import assert from "node:assert/strict";

import { collect, collectAll, fence, next, processes, range, request, sleep, until } from "../context.mjs";

const connect = (ctx) => ctx.connect("/emitting");

const numbers = (items) => items.map(([number]) => number);

// Of 15: between two polls there is nobody to deliver to, and a busy machine may still be writing the one before.
function assertMostTicks(ctx, ticks) {
  const least = ctx.lastTransport === "polling" ? 3 : 10;
  assert.ok(ticks.length >= least, `${ticks.length} of 15 ticks`);
}

export const emitting = {
  async five_hundred_events_to_the_client_in_order(ctx) {
    const socket = await connect(ctx);
    const items = collect(socket, "item");
    await request(socket, "burst", 500);
    assert.deepEqual(numbers(items), range(500));
  },

  async five_hundred_events_to_the_server_in_order(ctx) {
    const socket = await connect(ctx);
    for (const index of range(500)) socket.emit("item", index);
    assert.deepEqual(await request(socket, "items"), [range(500)]);
  },

  async five_hundred_events_there_and_back(ctx) {
    const socket = await connect(ctx);
    const items = collect(socket, "item");
    for (const index of range(500)) {
      socket.emit("echo item", index);
      if (index % 50 === 49) await sleep(1);
    }
    await fence(socket);
    assert.deepEqual(numbers(items), range(500));
  },

  async many_small_events_in_one_turn(ctx) {
    const socket = await connect(ctx);
    const items = collect(socket, "item");
    socket.emit("small ones in one turn", 1000);
    await until(() => items.length === 1000);
    await fence(socket);
    assert.deepEqual(numbers(items), range(1000));
  },

  async emitting_before_and_after_a_wait(ctx) {
    const socket = await connect(ctx);
    const items = collect(socket, "item");
    const answer = request(socket, "before and after");
    await until(() => items.length >= 1);
    assert.deepEqual(await answer, ["answer"]);
    assert.deepEqual(numbers(items), ["before", "after"]);
  },

  async volatile_is_delivered_to_whoever_is_ready(ctx) {
    const socket = await connect(ctx);
    await ctx.settled(socket);
    const ticks = collect(socket, "tick");
    const last = next(socket, "last tick");
    socket.emit("volatile ticks", 15);
    await last;
    assertMostTicks(ctx, ticks);
    assert.deepEqual(
      numbers(ticks),
      [...new Set(numbers(ticks))].sort((one, other) => one - other),
    );
  },

  async volatile_to_a_room(ctx) {
    const socket = await connect(ctx);
    await ctx.settled(socket);
    const ticks = collect(socket, "tick");
    const last = next(socket, "last tick");
    socket.emit("volatile to a room", 15);
    await last;
    assertMostTicks(ctx, ticks);
  },

  async volatile_is_dropped_for_a_slow_receiver(ctx) {
    const socket = await connect(ctx);
    await ctx.settled(socket);
    const flood = collect(socket, "flood");
    // 20 MB are more than the buffers of both kernels hold; a polling client is slow between its polls anyway.
    const wire = socket.io.engine.transport.ws?._socket;
    socket.emit("volatile flood", 160);
    wire?.pause();
    await ctx.notes(`flooded ${socket.id}`);
    wire?.resume();
    await fence(socket);
    assert.ok(flood.length > 0 && flood.length < 160, `${flood.length} of 160`);
    assert.deepEqual(
      numbers(flood),
      [...numbers(flood)].sort((one, other) => one - other),
    );
  },

  async client_s_volatile_before_connect_is_dropped(ctx) {
    const socket = ctx.socket("/emitting");
    socket.volatile.emit("item", "dropped");
    socket.emit("item", "kept");
    socket.connect();
    assert.deepEqual(await request(socket, "items"), [["kept"]]);
    await ctx.settled(socket);
    await until(() => socket.io.engine.transport.writable);
    socket.volatile.emit("item", "delivered");
    assert.deepEqual(await request(socket, "items"), [["kept", "delivered"]]);
  },

  async compress_and_local_are_accepted(ctx) {
    const socket = await connect(ctx);
    const items = collect(socket, "item");
    const other = await connect(ctx);
    const heard = collect(socket, "for others");
    const heardByOther = collect(other, "for others");
    await request(socket, "flags");
    await fence(other);
    const [here, there] = await processes(socket, other);
    assert.deepEqual(
      [heard, heardByOther].map((events) => events.filter(([id]) => id === socket.id).length),
      [0, here === there ? 1 : 0],
    );
    assert.deepEqual(numbers(items), ["uncompressed", "again", "compressed"]);
    socket.compress(false).emit("item", "from the client");
    assert.deepEqual(await request(socket, "items"), [["from the client"]]);
  },

  async reserved_names_are_refused(ctx) {
    const socket = await connect(ctx);
    const [refused] = await request(socket, "reserved");
    const names = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
    assert.deepEqual(
      refused,
      names.flatMap((name) => [name, name, name, name]),
    );
    if (ctx.client > 2) assert.throws(() => socket.emit("disconnect"), /reserved/);
  },

  async client_s_event_named_connection_finds_no_listener(ctx) {
    const socket = await connect(ctx);
    let answered = false;
    socket.emit("connection", "forged", () => (answered = true));
    socket.emit("new_namespace", "forged");
    await fence(socket);
    assert.deepEqual(await request(socket, "connections"), [1]);
    assert.equal(answered, false);
  },

  async reserved_name_on_the_wire_is_a_parse_error(ctx) {
    for (const name of ["disconnect", "connect_error", "newListener"]) {
      const socket = await connect(ctx);
      await ctx.settled(socket);
      const left = next(socket, "disconnect");
      socket.io._packet({ type: 2, nsp: "/emitting", data: [name, "forged"], options: {} });
      ctx.assertCutOff((await left)[0]);
    }
  },

  async unencodable_value_raises_and_the_connection_lives(ctx) {
    const socket = await connect(ctx);
    const items = collect(socket, "item");
    assert.deepEqual(await request(socket, "unencodable"), ["EncodeError"]);
    let answered = false;
    socket.emit("returns the unencodable", () => (answered = true));
    await fence(socket);
    assert.deepEqual(items, []);
    assert.equal(answered, false);
  },

  async emitting_from_another_thread(ctx) {
    const socket = await connect(ctx);
    const items = collect(socket, "item");
    const end = next(socket, "end");
    socket.emit("from a thread", 200);
    await end;
    assert.deepEqual(numbers(items), [...range(200), "room"]);
  },

  async asking_from_a_thread(ctx) {
    const socket = await connect(ctx);
    socket.on("question", (text, answer) => answer(`${text}!`));
    assert.deepEqual(await request(socket, "asked from a thread", "really"), ["really!"]);
  },

  async waiting_until_the_receiver_has_caught_up(ctx) {
    const socket = await connect(ctx);
    const items = collect(socket, "item");
    assert.deepEqual(await request(socket, "drain", 100), ["drained"]);
    assert.deepEqual(numbers(items), range(100));
  },

  async emitting_after_the_end_is_dropped(ctx) {
    const socket = await connect(ctx);
    const { id } = socket;
    const events = collectAll(socket, "item");
    let answered = false;
    socket.emit("dropped after disconnect", () => (answered = true));
    await fence(socket);
    events.length = 0;
    socket.disconnect();
    assert.deepEqual(await ctx.notes(`still running ${id}`), [[false, []]]);
    assert.deepEqual(events, []);
    assert.equal(answered, false);
  },
};

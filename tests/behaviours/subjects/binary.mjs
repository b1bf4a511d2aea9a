import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";

import { collect, fence, next, range, request } from "../context.mjs";

const connect = (ctx) => ctx.connect("/binary");

export const binary = {
  async buffers_of_every_kind_arrive_as_bytes(ctx) {
    const socket = await connect(ctx);
    const [seen] = await request(
      socket,
      "repr",
      Buffer.from([0, 1, 255]),
      new Uint8Array([2, 3]),
      new Uint8Array([4, 5]).buffer,
      new Uint16Array([6]),
    );
    assert.equal(seen, String.raw`[b'\x00\x01\xff', b'\x02\x03', b'\x04\x05', b'\x06\x00']`);
  },

  async bytes_of_every_kind_arrive_as_buffers(ctx) {
    const socket = await connect(ctx);
    const kinds = next(socket, "kinds");
    socket.emit("every kind");
    const seen = await kinds;
    assert.ok(seen.every((value) => Buffer.isBuffer(value)));
    assert.deepEqual(seen, [Buffer.from([0, 1, 255]), Buffer.from("array"), Buffer.from("view")]);
  },

  async a_client_without_binary_frames_sends_and_receives_bytes(ctx) {
    const socket = await ctx.connect("/binary", { forceBase64: true });
    const sent = [Buffer.from([0, 1, 255]), "text", Buffer.alloc(0)];
    assert.deepEqual(await request(socket, "echo", ...sent), sent);
    assert.equal((await request(socket, "repr", ...sent))[0], String.raw`[b'\x00\x01\xff', 'text', b'']`);
  },

  async several_attachments_keep_their_places(ctx) {
    const socket = await connect(ctx);
    const [seen] = await request(socket, "repr", Buffer.from("a"), 1, Buffer.from("b"), "two", Buffer.from("c"));
    assert.equal(seen, "[b'a', 1, b'b', 'two', b'c']");
    const values = range(10).map((index) => Buffer.alloc(index + 1, index));
    assert.deepEqual(await request(socket, "echo", ...values), values);
  },

  async attachments_deep_in_objects_and_lists(ctx) {
    const socket = await connect(ctx);
    const sent = { a: Buffer.from("1"), list: [Buffer.from("2"), "text", { deep: Buffer.from("3") }], none: null };
    assert.deepEqual(await request(socket, "repr", sent), [
      "[{'a': b'1', 'list': [b'2', 'text', {'deep': b'3'}], 'none': None}]",
    ]);
    assert.deepEqual(await request(socket, "nested"), [{ ...sent, tuple: [Buffer.from("4")] }]);
  },

  async the_same_bytes_twice(ctx) {
    const socket = await connect(ctx);
    const data = Buffer.from("twice");
    assert.deepEqual(await request(socket, "same twice"), [data, [data, data]]);
    assert.deepEqual(await request(socket, "repr", data, [data]), ["[b'twice', [b'twice']]"]);
  },

  async empty_buffers(ctx) {
    const socket = await connect(ctx);
    const empty = Buffer.alloc(0);
    assert.deepEqual(await request(socket, "repr", empty, "between", empty), ["[b'', 'between', b'']"]);
    assert.deepEqual(await request(socket, "echo", empty, Buffer.from("x"), empty), [empty, Buffer.from("x"), empty]);
  },

  async large_buffers(ctx) {
    const socket = await connect(ctx);
    const data = randomBytes(150_000);
    const [length, digest, reversed] = await request(socket, "digest", data);
    assert.equal(length, data.length);
    assert.equal(digest, createHash("sha256").update(data).digest("hex"));
    assert.ok(reversed.equals(Buffer.from(data).reverse()));
  },

  async bytes_in_fields_of_dataclasses(ctx) {
    const socket = await connect(ctx);
    assert.deepEqual(await request(socket, "dataclass"), [{ name: "logo", pixels: Buffer.from("\x89PNG", "latin1") }]);
  },

  async bytes_in_the_server_s_answer(ctx) {
    const socket = await connect(ctx);
    assert.deepEqual(await request(socket, "echo", Buffer.from("ack"), "text"), [Buffer.from("ack"), "text"]);
  },

  async bytes_in_the_client_s_answer(ctx) {
    const socket = await connect(ctx);
    socket.on("question", (mark, answer) => answer({ mark, more: [Buffer.from([9])] }, Buffer.from("end")));
    assert.deepEqual(await request(socket, "ask"), [String.raw`({'mark': b'?', 'more': [b'\t']}, b'end')`]);
  },

  async text_and_bytes_to_the_client_keep_their_order(ctx) {
    const socket = await connect(ctx);
    const items = collect(socket, "item");
    socket.emit("mixed", 60);
    await fence(socket);
    assert.deepEqual(
      items,
      range(60).map((index) => [index, index % 3 === 1 ? Buffer.from([index]) : String(index)]),
    );
  },

  async text_and_bytes_to_the_server_keep_their_order(ctx) {
    const socket = await connect(ctx);
    for (const index of range(60)) socket.emit("item", index, index % 3 === 1 ? Buffer.from("b") : "t");
    const [items] = await request(socket, "items");
    assert.deepEqual(
      items,
      range(60).map((index) => [index, index % 3 === 1 ? "b'b'" : "'t'"]),
    );
  },

  async bytes_to_a_room(ctx) {
    const sockets = await ctx.connectMany(4, "/binary");
    const heard = sockets.map((socket) => collect(socket, "to room"));
    for (const socket of sockets.slice(1)) socket.emit("join", "gallery");
    await fence(...sockets);
    sockets[0].emit("to room", "gallery", Buffer.from("one"), { two: Buffer.from("two") });
    await fence(...sockets);
    const expected = [[Buffer.from("one"), { two: Buffer.from("two") }]];
    assert.deepEqual(heard, [[], expected, expected, expected]);
  },

  async catch_all_listener_sees_bytes(ctx) {
    const socket = await connect(ctx);
    socket.emit("seen by any", Buffer.from("any"), { b: Buffer.from([0]) });
    const notes = await ctx.notes("bytes seen by any");
    assert.deepEqual(notes, [String.raw`(b'any', {'b': b'\x00'})`]);
  },

  async too_many_attachments_are_a_parse_error(ctx) {
    const socket = await connect(ctx);
    const { id } = socket;
    await request(socket, "repr", ...range(10).map(() => Buffer.from("x")));
    await ctx.settled(socket);
    const left = next(socket, "disconnect");
    socket.emit("repr", ...range(11).map(() => Buffer.from("x")));
    ctx.assertCutOff((await left)[0]);
    assert.deepEqual(await ctx.notes(`binary left ${id}`), ["parse error"]);
  },
};

import assert from "node:assert/strict";

import { fence, processes, request } from "../context.mjs";

export const listeners = {
  async catch_all_runs_before_the_specific_listener(ctx) {
    const socket = await ctx.connect("/listeners-incoming");
    socket.emit("specific", 1, 2);
    socket.emit("unheard of", "x");
    assert.deepEqual(await request(socket, "seen"), [
      [
        "first:specific:2",
        "second:specific:2",
        "specific:2",
        "first:unheard of:1",
        "second:unheard of:1",
        "first:seen:0",
        "second:seen:0",
      ],
    ]);
  },

  async catch_all_listeners_can_be_removed(ctx) {
    const socket = await ctx.connect("/listeners-incoming");
    await request(socket, "stop first");
    await request(socket, "seen");
    socket.emit("specific");
    assert.deepEqual(await request(socket, "seen"), [["second:specific:0", "specific:0", "second:seen:0"]]);
    await request(socket, "stop all");
    await request(socket, "seen");
    socket.emit("specific");
    assert.deepEqual(await request(socket, "seen"), [["specific:0"]]);
  },

  async catch_all_for_what_goes_out(ctx) {
    const socket = await ctx.connect("/listeners-outgoing");
    await request(socket, "emit");
    assert.deepEqual(await request(socket, "seen"), [
      [
        ["first", "to you", 1],
        ["second", "to you", 1],
        ["first", "to your room", 2],
        ["second", "to your room", 2],
      ],
    ]);
  },

  async outgoing_listeners_can_be_removed(ctx) {
    const socket = await ctx.connect("/listeners-outgoing");
    await request(socket, "stop first");
    await request(socket, "emit");
    assert.deepEqual(await request(socket, "seen"), [
      [
        ["second", "to you", 1],
        ["second", "to your room", 2],
      ],
    ]);
    await request(socket, "stop all");
    await request(socket, "emit");
    assert.deepEqual(await request(socket, "seen"), [[]]);
  },

  async on_once_and_off_of_a_socket(ctx) {
    const socket = await ctx.connect("/listeners-own");
    assert.deepEqual(await request(socket, "count"), [3]);
    socket.emit("event", 1);
    assert.deepEqual(await request(socket, "heard"), [
      [
        ["every time", 1],
        ["until told", 1],
        ["once", 1],
      ],
    ]);
    assert.deepEqual(await request(socket, "count"), [2]);
    socket.emit("event", 2);
    assert.deepEqual(await request(socket, "heard"), [
      [
        ["every time", 2],
        ["until told", 2],
      ],
    ]);
    await request(socket, "stop");
    socket.emit("event", 3);
    assert.deepEqual(await request(socket, "heard"), [[["every time", 3]]]);
    await request(socket, "stop everything");
    socket.emit("event", 4);
    assert.deepEqual(await request(socket, "heard"), [[]]);
    assert.deepEqual(await request(socket, "count"), [0]);
  },

  async listeners_of_a_socket_are_its_own(ctx) {
    const [one, other] = await ctx.connectMany(2, "/listeners-own");
    await request(one, "stop everything");
    one.emit("event", 1);
    other.emit("event", 2);
    assert.deepEqual(await request(one, "heard"), [[]]);
    assert.deepEqual(await request(other, "heard"), [
      [
        ["every time", 2],
        ["until told", 2],
        ["once", 2],
      ],
    ]);
  },

  async on_once_and_off_of_a_namespace(ctx) {
    const [one, other] = await ctx.connectMany(2, "/listeners-shared");
    one.emit("first of all", "a");
    await fence(one);
    other.emit("first of all", "b");
    one.emit("for everyone", "c");
    await fence(one, other);
    assert.deepEqual(await request(other, "stop"), [[1, 0]]);
    one.emit("for everyone", "d");
    await fence(one);
    // What was registered is each process's own.
    const [here, there] = await processes(one, other);
    const heard = [
      ["once", "a"],
      ["everyone", "c"],
    ];
    assert.deepEqual(await request(one, "heard"), [here === there ? heard : [...heard, ["everyone", "d"]]]);
  },

  async server_s_own_listeners_are_the_root_namespace_s(ctx) {
    const socket = await ctx.connect("/");
    assert.deepEqual(await request(socket, "said at the root", "it"), ["/ heard it"]);
  },

  async listeners_without_the_decorator(ctx) {
    const socket = await ctx.connect("/listeners-direct");
    assert.deepEqual(await request(socket, "double", "ab"), ["abab"]);
    assert.deepEqual(await request(socket, "triple", "ab"), ["ababab"]);
    assert.deepEqual(await request(socket, "plain", "def"), ["plain def"]);
  },
};

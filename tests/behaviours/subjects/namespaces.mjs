import assert from "node:assert/strict";

import { collect, fence, next, opened, processes, range, refused, request, sleep } from "../context.mjs";

export const namespaces = {
  async unknown_namespace_is_refused(ctx) {
    const socket = ctx.socket("/nobody-made-this");
    const error = await refused(socket);
    assert.equal(error.message, "Invalid namespace");
    assert.equal(error.data, undefined);
    assert.equal(socket.connected, false);
    assert.equal(socket.id, undefined);
  },

  async refusal_leaves_other_namespaces_alone(ctx) {
    const manager = ctx.manager();
    const socket = await opened(manager.socket("/numbered-1"));
    const engineId = manager.engine.id;
    await refused(manager.socket("/nobody-made-this"));
    assert.equal(socket.connected, true);
    await fence(socket);
    assert.equal(manager.engine.id, engineId);
  },

  async namespace_by_pattern(ctx) {
    const socket = ctx.socket("/numbered-101");
    const welcome = next(socket, "welcome");
    await opened(socket);
    assert.deepEqual(await welcome, ["/numbered-101"]);
    const error = await refused(ctx.socket("/numbered-x"));
    assert.equal(error.message, "Invalid namespace");
  },

  async namespace_by_async_function(ctx) {
    const socket = await ctx.connect("/asked-one", { auth: { token: "right" } });
    assert.deepEqual(await request(socket, "whoami"), ["/asked-one"]);
    const wrong = await refused(ctx.socket("/asked-two", { auth: { token: "wrong" } }));
    assert.equal(wrong.message, "Invalid namespace");
    const missing = await refused(ctx.socket("/asked-three"));
    assert.equal(missing.message, "Invalid namespace");
  },

  async namespace_by_plain_function(ctx) {
    const socket = await ctx.connect("/plainly-asked-1");
    assert.deepEqual(await request(socket, "whoami"), ["/plainly-asked-1"]);
  },

  async fixed_namespace_wins_over_the_pattern(ctx) {
    const socket = await ctx.connect("/numbered-7");
    assert.deepEqual(await request(socket, "whoami"), ["the fixed one"]);
  },

  async many_namespaces_on_one_connection(ctx) {
    const manager = ctx.manager();
    const sockets = await Promise.all(range(20).map((index) => opened(manager.socket(`/numbered-${index + 200}`))));
    const answers = await Promise.all(sockets.map((socket) => request(socket, "whoami")));
    sockets.forEach((socket, index) => {
      assert.deepEqual(answers[index], [`/numbered-${index + 200}`, socket.id, manager.engine.id]);
    });
    assert.equal(new Set(sockets.map(({ id }) => id)).size, 20);
  },

  async what_is_said_in_one_namespace_stays_there(ctx) {
    const manager = ctx.manager();
    const [one, two] = await Promise.all(["/crowd-one", "/crowd-two"].map((name) => opened(manager.socket(name))));
    const [heardInOne, heardInTwo] = [collect(one, "said"), collect(two, "said")];
    one.emit("say", "a");
    two.emit("say", "b");
    await fence(one, two);
    assert.deepEqual(heardInOne, [["/crowd-one", "a"]]);
    assert.deepEqual(heardInTwo, [["/crowd-two", "b"]]);
  },

  async leaving_one_namespace_keeps_the_others(ctx) {
    const manager = ctx.manager();
    const [one, two] = await Promise.all(["/crowd-3", "/crowd-4"].map((name) => opened(manager.socket(name))));
    const left = next(one, "disconnect");
    one.disconnect();
    assert.equal((await left)[0], "io client disconnect");
    await fence(two);
    assert.equal(two.connected, true);
    await opened(one);
    await fence(one, two);
  },

  async new_namespace_is_announced_once(ctx) {
    const first = await ctx.connect("/numbered-301");
    const second = await ctx.connect("/numbered-301");
    await fence(first, second);
    const notes = await ctx.notes("new_namespace");
    const where = notes.filter(([name]) => name === "/numbered-301").map(([, process]) => process);
    assert.deepEqual(where.sort(), [...new Set(await processes(first, second))].sort());
  },

  async empty_children_are_cleaned_up(ctx) {
    const announced = async () => (await ctx.notes("new_namespace")).filter(([name]) => name === "/fleeting-1").length;
    const first = await ctx.connect("/fleeting-1");
    const second = await ctx.connect("/fleeting-1");
    await fence(first, second);
    assert.equal(await announced(), 1);
    first.disconnect();
    await sleep(50);
    const third = await ctx.connect("/fleeting-1");
    assert.equal(await announced(), 1);
    second.disconnect();
    third.disconnect();
    // The server forgets the child some time after the last one has left.
    do {
      await sleep(20);
      const socket = await ctx.connect("/fleeting-1");
      await fence(socket);
      socket.disconnect();
    } while ((await announced()) === 1);
    assert.ok((await announced()) >= 2);
  },

  async what_the_parent_emits_reaches_all_children(ctx) {
    const names = ["/child-of-one-a", "/child-of-one-b", "/child-of-one-c"];
    const sockets = await Promise.all(names.map((name) => ctx.connect(name)));
    const heard = sockets.map((socket) => collect(socket, "for all children"));
    const heardInFront = sockets.map((socket) => collect(socket, "for the front row"));
    sockets[1].emit("sit in front");
    await fence(sockets[1]);
    sockets[0].emit("to all children", "hello");
    await fence(...sockets);
    assert.deepEqual(heard, [[["hello"]], [["hello"]], [["hello"]]]);
    assert.deepEqual(heardInFront, [[], [["hello"]], []]);
  },

  async what_the_parent_learns_later_holds_for_its_children(ctx) {
    const early = await ctx.connect("/growing-early");
    early.emit("grow");
    await fence(early);
    assert.deepEqual(await request(early, "grown"), ["late in /growing-early"]);
    assert.deepEqual(await request(early, "seen"), [false]);
    const again = await ctx.connect("/growing-early");
    assert.deepEqual(await request(again, "grown"), ["late in /growing-early"]);
    assert.deepEqual(await request(again, "seen"), [true]);
    const other = await ctx.connect("/growing-other");
    assert.deepEqual(await request(other, "seen"), [true]);
  },

  async too_many_namespaces_are_refused(ctx) {
    const manager = ctx.manager();
    const allowed = ctx.client === 2 ? 99 : 100; // the oldest client is in the main namespace, too
    await Promise.all(range(allowed).map((index) => opened(manager.socket(`/crowd-many-${index}`))));
    const error = await refused(manager.socket("/crowd-many-100"));
    assert.equal(error.message, "Too many namespaces");
    await fence(manager.nsps["/crowd-many-0"], manager.nsps[`/crowd-many-${allowed - 1}`]);
  },
};

import assert from "node:assert/strict";

import { collectAll, fence, opened, refused, request, sleep, until } from "../context.mjs";

export const middlewares = {
  async middlewares_run_in_order_before_the_connection(ctx) {
    const socket = await ctx.connect("/middlewares-passing", { auth: { token: "t" } });
    assert.deepEqual(await request(socket, "order"), [
      ["first", false, "t", "first ended", "second", "connection", true],
    ]);
  },

  async refusal_with_data(ctx) {
    const error = await refused(ctx.socket("/middlewares-refusing", { auth: { ask: "data" } }));
    assert.ok(error instanceof Error);
    if (ctx.client > 2) assert.equal(error.message, "not allowed"); // protocol 4 has room for one of the two
    assert.deepEqual(error.data, { code: 401, details: ["why", null] });
  },

  async refusal_without_data(ctx) {
    const error = await refused(ctx.socket("/middlewares-refusing", { auth: { ask: "message" } }));
    assert.equal(error.message, "only words");
    assert.equal(error.data, undefined);
  },

  async other_exceptions_keep_their_text_to_themselves(ctx) {
    const error = await refused(ctx.socket("/middlewares-refusing", { auth: { ask: "exception" } }));
    assert.equal(error.message, "Internal error");
    assert.equal(error.data, undefined);
  },

  async nothing_runs_and_nothing_stays_after_a_refusal(ctx) {
    const manager = ctx.manager();
    const probe = await opened(manager.socket("/middlewares-passing"));
    const turnedAway = manager.socket("/middlewares-refusing", { auth: { ask: "message" } });
    await refused(turnedAway);
    await fence(probe);
    assert.equal(turnedAway.connected, false);
    const member = await ctx.connect("/middlewares-refusing", { auth: { ask: "to see who is here" } });
    // Whoever was turned away left the room, and was never in the namespace.
    const [members, everybody] = await request(member, "members and everybody");
    assert.ok(members.includes(member.id) && everybody.includes(member.id));
    assert.ok(
      members.every((id) => everybody.includes(id)),
      `${members} among ${everybody}`,
    );
    for (const name of ["second middleware ran", "connected past the middleware"]) {
      const notes = await ctx.notes(name);
      assert.ok(
        !notes.includes("message") && !notes.includes("data") && !notes.includes("exception"),
        `${name}: ${notes}`,
      );
    }
  },

  async trying_again_after_a_refusal(ctx) {
    const socket = ctx.socket("/middlewares-refusing", { auth: { ask: "message" } });
    await refused(socket);
    await refused(socket);
    socket.auth = { ask: "nicely" };
    await opened(socket);
    await fence(socket);
    socket.disconnect();
    const left = await ctx.notes("left behind the middleware");
    assert.ok(!left.includes("message"));
  },

  async what_a_middleware_emits_comes_after_connect(ctx) {
    const socket = ctx.socket("/middlewares-early");
    const packets = [];
    socket.io.on("packet", ({ type, nsp, data }) => {
      if (nsp === socket.nsp) packets.push(type === 0 ? "CONNECT" : data.join());
    });
    const seen = collectAll(socket, "from the middleware", "from the connection");
    await opened(socket);
    await until(() => seen.length === 3);
    assert.deepEqual(seen, [
      ["from the middleware", 1],
      ["from the middleware", 2],
      ["from the connection", socket.id],
    ]);
    assert.deepEqual(packets, [
      "CONNECT",
      "from the middleware,1",
      "from the middleware,2",
      `from the connection,${socket.id}`,
    ]);
  },

  async leaving_while_a_middleware_runs(ctx) {
    const manager = ctx.manager();
    const socket = manager.socket("/middlewares-slow", { auth: { name: "left early" } });
    socket.connect();
    await ctx.notes("slow middleware began");
    manager.engine.close();
    await until(() => manager.engine.readyState === "closed");
    const patient = await ctx.connect("/middlewares-slow", { auth: { name: "stayed" } });
    await fence(patient);
    await ctx.ask("let the slow middleware end");
    await sleep(100);
    await fence(patient);
    assert.equal(socket.connected, false);
    assert.deepEqual(await ctx.notes("connected after a slow middleware"), ["stayed"]);
  },

  async middleware_that_takes_too_long_refuses(ctx) {
    const start = performance.now();
    await refused(ctx.socket("/", { server: "hurried", auth: { slow: true }, query: { slow: "true" } }));
    assert.ok(performance.now() - start < 4000);
    await fence(await ctx.connect("/", { server: "hurried" }));
  },

  async parent_s_middlewares_hold_for_its_children(ctx) {
    const error = await refused(ctx.socket("/middlewares-family-a"));
    assert.equal(error.message, "/middlewares-family-a is for the family");
    await fence(await ctx.connect("/middlewares-family-a", { auth: { token: "family" } }));
    await refused(ctx.socket("/middlewares-family-b", { auth: { token: "stranger" } }));
  },

  async middleware_that_is_a_plain_function(ctx) {
    const socket = await ctx.connect("/middlewares-thread");
    assert.deepEqual(await request(socket, "plain"), [true]);
    const error = await refused(ctx.socket("/middlewares-thread", { auth: { refuse: true } }));
    assert.equal(error.message, "refused in a plain function");
  },

  async packet_middlewares_see_every_packet(ctx) {
    const socket = await ctx.connect("/middlewares-packets");
    assert.deepEqual(await request(socket, "passed", 1, "two"), [1, "two"]);
    assert.deepEqual(await request(socket, "seen"), [[["passed", [1, "two"]], "passed", ["seen", []], "passed"]]);
  },

  async packet_middleware_drops(ctx) {
    const socket = await ctx.connect("/middlewares-packets");
    let answered = false;
    socket.emit("dropped", () => (answered = true));
    assert.deepEqual(await request(socket, "passed"), []);
    assert.equal(answered, false);
    assert.deepEqual(await ctx.notes("dropped packet was handled", 0), []);
    assert.deepEqual(await request(socket, "seen"), [
      [["dropped", []], ["passed", []], "passed", ["seen", []], "passed"],
    ]);
  },

  async packet_middleware_answers_with_an_event_error(ctx) {
    const socket = await ctx.connect("/middlewares-packets");
    assert.deepEqual(await request(socket, "refused", "x"), ["refused", ["x"]]);
    assert.deepEqual(await request(socket, "passed", "y"), ["y"]);
  },

  async packets_keep_their_order_behind_a_slow_middleware(ctx) {
    const socket = await ctx.connect("/middlewares-packets");
    socket.emit("slow");
    assert.deepEqual(await request(socket, "fast"), [["slow", "fast"]]);
  },
};

import assert from "node:assert/strict";

import { collect, fence, next, opened, range, refused, request, sleep } from "../context.mjs";

export const transports = {
  async transport_before_and_after(ctx) {
    const socket = await ctx.connect("/transports");
    await ctx.settled(socket);
    const [names, current] = await request(socket, "names");
    assert.deepEqual(names, ctx.transport === "upgrade" ? ["polling", "websocket"] : [ctx.transport]);
    assert.equal(current, ctx.lastTransport);
    assert.equal(socket.io.engine.transport.name, ctx.lastTransport);
  },

  async client_sees_the_upgrade(ctx) {
    const socket = ctx.socket("/transports");
    const upgrades = [];
    const opening = opened(socket);
    socket.io.engine.on("upgrade", ({ name }) => upgrades.push(name));
    await opening;
    const { id } = socket;
    await ctx.settled(socket);
    await fence(socket);
    assert.deepEqual(upgrades, ctx.transport === "upgrade" ? ["websocket"] : []);
    assert.equal(socket.id, id);
  },

  async events_during_the_upgrade_arrive_once_in_order(ctx) {
    const socket = ctx.socket("/transports-burst");
    const items = collect(socket, "item");
    const echoed = collect(socket, "echoed");
    const opening = opened(socket);
    for (const index of range(200)) {
      socket.emit("item", index);
      socket.emit("echo", index);
      if (index % 10 === 9) await sleep(1);
    }
    await opening;
    await ctx.settled(socket);
    assert.deepEqual(await request(socket, "items"), [range(200)]);
    assert.deepEqual(
      items.map(([index]) => index),
      range(200),
    );
    assert.deepEqual(
      echoed.map(([index]) => index),
      range(200),
    );
  },

  async requests_during_the_upgrade_are_answered(ctx) {
    const socket = ctx.socket("/transports-burst");
    const answers = [];
    const opening = opened(socket);
    for (const index of range(60)) {
      answers.push(request(socket, "echo", index));
      await sleep(1);
    }
    await opening;
    assert.deepEqual(
      await Promise.all(answers),
      range(60).map((index) => [index]),
    );
  },

  async bytes_during_the_upgrade_arrive(ctx) {
    const socket = ctx.socket("/transports-burst");
    const echoed = collect(socket, "echoed");
    const opening = opened(socket);
    for (const index of range(40)) {
      socket.emit("echo", index % 2 ? Buffer.from([index]) : index);
      await sleep(1);
    }
    await opening;
    await fence(socket);
    assert.deepEqual(
      echoed.map(([value]) => value),
      range(40).map((index) => (index % 2 ? Buffer.from([index]) : index)),
    );
  },

  async heartbeats_keep_the_connection(ctx) {
    const socket = await ctx.connect("/", { server: "heartbeat" });
    await ctx.settled(socket);
    let pings = 0;
    const heartbeat = ctx.client === 2 ? "pong" : "ping"; // in protocol 3 the client pings
    socket.io.engine.on("packet", ({ type }) => (pings += type === heartbeat));
    let lost;
    socket.on("disconnect", (reason) => (lost = reason));
    await sleep(2000);
    assert.equal(lost, undefined);
    assert.ok(pings >= 2, `${pings} pings`);
    await fence(socket);
    assert.deepEqual(await request(socket, "name"), [ctx.lastTransport]);
  },

  async silent_client_is_given_up(ctx) {
    const socket = await ctx.connect("/", { server: "heartbeat" });
    await ctx.settled(socket);
    const { id } = socket;
    const left = next(socket, "disconnect");
    const start = performance.now();
    socket.io.engine.sendPacket = socket.io.engine._sendPacket = () => {}; // no pong leaves it any more
    // The oldest client pings, and gives up as late as the server does.
    const reasons = ["transport close", ...(ctx.client === 2 ? ["ping timeout"] : [])];
    assert.ok(reasons.includes((await left)[0]));
    assert.ok(performance.now() - start > 500);
    assert.deepEqual(await ctx.notes(`transport left ${id}`), ["ping timeout"]);
  },

  async handshake_announces_the_options(ctx) {
    const manager = ctx.manager({ server: "heartbeat" });
    manager.open();
    const [handshake] = await next(manager.engine, "handshake");
    assert.equal(handshake.pingInterval, 300);
    assert.equal(handshake.pingTimeout, 1000);
    assert.equal(handshake.maxPayload, 1_000_000);
    assert.deepEqual(handshake.upgrades, ctx.firstTransport === "polling" ? ["websocket"] : []);
    assert.deepEqual(Object.keys(handshake).sort(), ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
  },

  async server_that_allows_no_upgrades(ctx) {
    const socket = await ctx.connect("/", { server: "no_upgrades" });
    await sleep(100);
    assert.deepEqual(await request(socket, "name"), [ctx.firstTransport]);
    assert.equal(socket.io.engine.transport.name, ctx.firstTransport);
  },

  async server_that_speaks_polling_only(ctx) {
    if (ctx.firstTransport === "websocket") {
      const error = await refused(ctx.socket("/", { server: "polling_only" }));
      assert.equal(error.message, "websocket error");
    } else {
      const socket = await ctx.connect("/", { server: "polling_only" });
      await sleep(100);
      assert.deepEqual(await request(socket, "name"), ["polling"]);
    }
  },

  async server_that_speaks_websocket_only(ctx) {
    if (ctx.firstTransport === "polling") {
      const error = await refused(ctx.socket("/", { server: "websocket_only" }));
      assert.equal(error.message, "xhr poll error");
    } else {
      const socket = await ctx.connect("/", { server: "websocket_only" });
      assert.deepEqual(await request(socket, "name"), ["websocket"]);
    }
  },

  async messages_within_the_limit_pass(ctx) {
    const socket = await ctx.connect("/", { server: "small" });
    await ctx.settled(socket);
    // On polling a packet of bytes is a third larger, as base64.
    const length = ctx.parser === "msgpack" ? 7_300 : 9_900;
    assert.deepEqual(await request(socket, "size", "x".repeat(length)), [length]);
    assert.deepEqual(await request(socket, "size", Buffer.alloc(6_000)), [6_000]);
  },

  async messages_over_the_limit_end_the_connection(ctx) {
    for (const data of ["x".repeat(10_100), Buffer.alloc(10_100)]) {
      const socket = await ctx.connect("/", { server: "small" });
      await ctx.settled(socket);
      const { id } = socket;
      const left = next(socket, "disconnect");
      socket.emit("size", data);
      assert.equal((await left)[0], ctx.lastTransport === "polling" ? "transport error" : "transport close");
      const [reason] = await ctx.notes(`transport left ${id}`);
      assert.ok(["transport error", "transport close"].includes(reason), reason);
    }
    await fence(await ctx.connect("/", { server: "small" }));
  },

  async limit_holds_for_messages_not_for_their_sum(ctx) {
    const socket = await ctx.connect("/", { server: "small" });
    await ctx.settled(socket);
    // The older client puts what waits into one payload whatever the server announced, so it sends one at a time.
    const sizes = [];
    for (const size of [3_000, 3_500, 4_000, 4_500]) {
      const answer = request(socket, "size", "x".repeat(size));
      sizes.push(ctx.client >= 4 ? answer : await answer);
    }
    assert.deepEqual(await Promise.all(sizes), [[3_000], [3_500], [4_000], [4_500]]);
  },

  async unknown_session_is_refused_and_the_client_starts_anew(ctx) {
    const socket = await ctx.connect("/transports", { reconnection: true });
    await ctx.settled(socket);
    const { id } = socket;
    const again = next(socket, "connect");
    if (ctx.lastTransport === "polling") socket.io.engine.transport.query.sid = "AAAAAAAAAAAAAAAAAAAA";
    else socket.io.engine.transport.ws.terminate();
    socket.emit("to nobody");
    await again;
    assert.notEqual(socket.id, id);
    await fence(socket);
  },

  // In the cells of several workers, or nothing else here has been through two of them.
  async requests_are_answered_by_whichever_worker_they_meet(ctx) {
    const several = ctx.hosting.endsWith("workers");
    const expected = [several && ctx.firstTransport === "polling", several && ctx.transport === "upgrade"];
    const polled = async () => (await ctx.ask("polls that another worker answered")) > 0;
    const moved = async () => (await ctx.ask("upgrades that went to another worker")) > 0;
    let seen;
    do {
      const sockets = await ctx.connectMany(8, "/transports");
      await Promise.all(sockets.map((socket) => ctx.settled(socket)));
      await fence(...sockets);
      for (const socket of sockets) socket.disconnect();
      seen = [await polled(), await moved()];
    } while (seen.some((happened, index) => expected[index] && !happened));
    assert.deepEqual(seen, expected);
  },
};

import assert from "node:assert/strict";

import { collect, fence, leave, next, opened, request, sleep } from "../context.mjs";

// Older clients know nothing of recovery: wherever the newest one finds its session again, they get a new one. The oldest
// cannot say its name in the main namespace.

function connect(ctx, name, { server = "recovering", namespace = ctx.client > 2 ? "/" : "/other" } = {}) {
  return ctx.connect(namespace, { server, auth: { name }, reconnection: true, reconnectionDelay: 100 });
}

// Breaks the transport, and gives what was missed once the client is back and the server had the time to speak.
async function breakAndReturn(ctx, socket, name) {
  await ctx.settled(socket);
  const missed = collect(socket, "missed");
  const again = next(socket, "connect");
  socket.io.engine.close();
  if (name) await ctx.notes(`spoken after ${name}`);
  await again;
  await fence(socket);
  return missed;
}

// The offset of the packet follows the arguments; it is how the client says what it has seen.
function withoutOffsets(ctx, events) {
  if (ctx.client === 2) return events; // it could do nothing with them, and is spared them
  for (const args of events) assert.equal(typeof args.at(-1), "string");
  return events.map((args) => args.slice(0, -1));
}

export const recovery = {
  async session_is_recovered(ctx) {
    const socket = await connect(ctx, "recovered");
    await request(socket, "say", "before");
    const { id } = socket;
    await breakAndReturn(ctx, socket);
    const notes = await ctx.notes("connected as recovered", 2);
    if (ctx.client >= 4) {
      assert.equal(socket.recovered, true);
      assert.equal(socket.id, id);
      assert.deepEqual(notes, [
        [id, false],
        [id, true],
      ]);
    } else {
      assert.notEqual(socket.id, id);
      assert.deepEqual(notes, [
        [id, false],
        [socket.id, false],
      ]);
    }
  },

  async rooms_and_data_are_restored(ctx) {
    const socket = await connect(ctx, "restored");
    await request(socket, "remember", "restored", "restored");
    await request(socket, "say", "before");
    await breakAndReturn(ctx, socket, "restored");
    const [state] = await request(socket, "state");
    if (ctx.client >= 4) {
      assert.deepEqual(state, { rooms: ["restored"], data: { value: "restored" }, recovered: true, connected: true });
    } else {
      assert.deepEqual(state, { rooms: [], data: {}, recovered: false, connected: true });
    }
  },

  async missed_events_arrive_once_in_order(ctx) {
    const socket = await connect(ctx, "missing");
    await request(socket, "remember", "missing", "missing");
    await request(socket, "say", "before");
    const missed = await breakAndReturn(ctx, socket, "missing");
    await sleep(50);
    await fence(socket);
    if (ctx.client >= 4) {
      assert.deepEqual(withoutOffsets(ctx, missed), [
        [1, "to the socket"],
        [2, "to the room"],
        [3, { bytes: Buffer.from([1, 2]) }],
        [4, "later"],
      ]);
    } else {
      assert.deepEqual(missed, []);
    }
  },

  async session_which_had_heard_nothing_is_recovered_too(ctx) {
    const socket = await connect(ctx, "deaf");
    await request(socket, "remember", "deaf", "deaf");
    const { id } = socket;
    const missed = await breakAndReturn(ctx, socket, "deaf");
    if (ctx.client >= 4) {
      assert.equal(socket.recovered, true);
      assert.equal(socket.id, id);
      assert.equal(missed.length, 4);
    } else {
      assert.notEqual(socket.id, id);
      assert.deepEqual(missed, []);
    }
  },

  async recovering_twice(ctx) {
    const socket = await connect(ctx, "twice");
    const { id } = socket;
    for (let times = 0; times < 2; times++) {
      await request(socket, "say", `before ${times}`);
      await breakAndReturn(ctx, socket);
      assert.equal(socket.id === id, ctx.client >= 4);
    }
    const notes = await ctx.notes("connected as twice", 3);
    assert.deepEqual(
      notes.map(([, recovered]) => recovered),
      ctx.client >= 4 ? [false, true, true] : [false, false, false],
    );
  },

  // A client takes a text at the end of an event for its offset.
  async volatile_text_is_not_taken_for_an_offset(ctx) {
    const socket = await connect(ctx, "whispered to");
    await request(socket, "remember", "whispered to", "whispered to");
    await request(socket, "say", "before");
    const { id } = socket;
    const said = collect(socket, "said");
    // Between two polls it is lost, as it may be.
    while (said.length === 0) await request(socket, "whisper", "only a text");
    assert.equal(said[0][0], "only a text");
    const missed = await breakAndReturn(ctx, socket, "whispered to");
    assert.equal(socket.id === id, ctx.client >= 4);
    assert.equal(missed.length, ctx.client >= 4 ? 4 : 0);
  },

  async offset_that_was_never_issued_recovers_nothing(ctx) {
    const socket = await connect(ctx, "forging");
    await request(socket, "remember", "forging", "forging");
    await request(socket, "say", "before");
    const { id } = socket;
    socket._lastOffset = "never issued";
    const missed = await breakAndReturn(ctx, socket, "forging");
    assert.notEqual(socket.id, id);
    assert.deepEqual(missed, []);
    const [state] = await request(socket, "state");
    assert.deepEqual(state, { rooms: [], data: {}, recovered: false, connected: true });
  },

  async recovered_connection_works_as_before(ctx) {
    const socket = await connect(ctx, "working");
    await request(socket, "say", "before");
    await breakAndReturn(ctx, socket);
    const said = collect(socket, "said");
    assert.deepEqual(await request(socket, "answer", Buffer.from("x")), [Buffer.from("x")]);
    await request(socket, "say", "after", 1);
    assert.deepEqual(withoutOffsets(ctx, said), [["after", 1]]);
  },

  async each_namespace_recovers_by_itself(ctx) {
    const manager = ctx.manager({ server: "recovering", reconnection: true, reconnectionDelay: 100 });
    const root = await opened(manager.socket("/", { auth: { name: "both" } }));
    const other = await opened(manager.socket("/other", { auth: { name: "both" } }));
    const ids = [root.id, other.id];
    await request(root, "say", "before");
    await ctx.settled(root);
    const again = [next(root, "connect"), next(other, "connect")];
    manager.engine.close();
    await Promise.all(again);
    await fence(root, other);
    assert.equal(root.id === ids[0], ctx.client >= 4);
    assert.equal(other.id === ids[1], ctx.client >= 4);
  },

  async who_left_on_purpose_is_not_recovered(ctx) {
    const socket = await connect(ctx, "leaving");
    await request(socket, "remember", "leaving", "leaving");
    await request(socket, "say", "before");
    const { id } = socket;
    await leave(socket);
    await ctx.notes("spoken after leaving");
    await opened(socket);
    assert.notEqual(socket.id, id);
    const [state] = await request(socket, "state");
    assert.deepEqual(state, { rooms: [], data: {}, recovered: false, connected: true });
  },

  async session_that_is_too_old_is_not_recovered(ctx) {
    const socket = await connect(ctx, "late", { server: "forgetful" });
    await request(socket, "remember", "late", "late");
    await request(socket, "say", "before");
    const { id } = socket;
    await ctx.settled(socket);
    socket.io.reconnection(false);
    const missed = collect(socket, "missed");
    socket.io.engine.close();
    await ctx.notes("spoken after late");
    await sleep(500);
    await opened(socket);
    await fence(socket);
    assert.notEqual(socket.id, id);
    assert.deepEqual(missed, []);
    const [state] = await request(socket, "state");
    assert.deepEqual(state, { rooms: [], data: {}, recovered: false, connected: true });
  },

  async unknown_session_is_not_recovered(ctx) {
    const socket = ctx.socket("/", {
      server: "recovering",
      auth: { name: "forger", pid: "AAAAAAAAAAAAAAAAAAAA", offset: "0-0" },
    });
    await opened(socket);
    const [state] = await request(socket, "state");
    assert.deepEqual(state, { rooms: [], data: {}, recovered: false, connected: true });
  },

  async middlewares_judge_again_by_default(ctx) {
    const socket = await connect(ctx, "judged");
    await request(socket, "say", "before");
    await breakAndReturn(ctx, socket);
    const judged = await ctx.notes("recovering middleware", 2);
    assert.equal(judged.filter((name) => name === "judged").length, 2);
  },

  async middlewares_can_be_skipped(ctx) {
    const socket = await connect(ctx, "trusted", { server: "trusting" });
    await request(socket, "say", "before");
    await breakAndReturn(ctx, socket);
    const judged = await ctx.notes("trusting middleware");
    assert.equal(judged.filter((name) => name === "trusted").length, ctx.client >= 4 ? 1 : 2);
  },

  async without_the_option_nothing_is_recovered(ctx) {
    const socket = ctx.socket("/connecting", { reconnection: true, reconnectionDelay: 100 });
    const events = collect(socket, "welcome");
    await opened(socket);
    const { id } = socket;
    await fence(socket);
    await breakAndReturn(ctx, socket);
    assert.notEqual(socket.id, id);
    assert.ok(!socket.recovered);
    assert.deepEqual(events, [
      ["/connecting", id, true],
      ["/connecting", socket.id, true],
    ]); // and no offset
  },
};

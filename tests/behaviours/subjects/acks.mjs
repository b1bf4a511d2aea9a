import assert from "node:assert/strict";

import { collect, fence, next, range, request, sleep, until } from "../context.mjs";

const connect = (ctx) => ctx.connect("/acks");

async function answers(ctx, event, ...args) {
  const socket = await connect(ctx);
  return request(socket, event, ...args);
}

// The answer within a time, or an Error, the same way in both versions: the older client has no timeout().
function answerWithin(ctx, socket, milliseconds, event, ...args) {
  if (ctx.client >= 4) {
    return new Promise((resolve) => {
      socket.timeout(milliseconds).emit(event, ...args, (error, ...answer) => resolve(error ?? answer));
    });
  }
  return Promise.race([
    request(socket, event, ...args),
    sleep(milliseconds).then(() => new Error("operation has timed out")),
  ]);
}

async function room(ctx, name, ...replies) {
  const sockets = await ctx.connectMany(replies.length, "/acks-broadcast");
  sockets.forEach((socket, index) => {
    socket.on("poll", (...args) => {
      const answer = args.pop();
      const reply = replies[index];
      if (reply !== undefined) answer(...[reply].flat(), ...args);
    });
    socket.emit("join", name);
  });
  await fence(...sockets);
  return sockets;
}

export const acks = {
  async handler_returns_nothing(ctx) {
    assert.deepEqual(await answers(ctx, "nothing"), []);
  },

  async handler_returns_a_value(ctx) {
    assert.deepEqual(await answers(ctx, "value", "x"), [{ given: "x" }]);
  },

  async handler_returns_a_tuple(ctx) {
    assert.deepEqual(await answers(ctx, "several"), [1, "two", [3]]);
  },

  async handler_returns_a_list(ctx) {
    assert.deepEqual(await answers(ctx, "list"), [[1, 2, 3]]);
  },

  async handler_returns_none_in_a_tuple(ctx) {
    assert.deepEqual(await answers(ctx, "none in a tuple"), [null]);
  },

  async handler_returns_falsy_values(ctx) {
    assert.deepEqual(await answers(ctx, "false"), [false, 0, ""]);
    assert.deepEqual(await answers(ctx, "empty tuple"), []);
  },

  async handler_answers_by_itself(ctx) {
    const socket = await connect(ctx);
    assert.deepEqual(await request(socket, "by itself", "asked"), ["answered", "asked"]);
    assert.deepEqual(await ctx.notes("ack wanted asked"), [true]);
  },

  async ack_that_nobody_wants_does_nothing(ctx) {
    const socket = await connect(ctx);
    const packets = [];
    socket.io.on("packet", ({ type }) => packets.push(type));
    socket.emit("by itself", "told");
    socket.emit("nothing");
    assert.deepEqual(await ctx.notes("ack wanted told"), [false]);
    await sleep(60);
    await request(socket, "fence");
    assert.deepEqual(packets, [3]); // the fence's own
  },

  async answering_twice_counts_once(ctx) {
    const socket = await connect(ctx);
    const seen = [];
    socket.emit("by itself twice", (...args) => seen.push(args));
    await fence(socket);
    assert.deepEqual(seen, [["first"]]);
  },

  async event_error_answers(ctx) {
    assert.deepEqual(await answers(ctx, "event error"), [{ code: 42 }, "reason"]);
    assert.deepEqual(await answers(ctx, "bare event error"), []);
    assert.deepEqual(await answers(ctx, "exception in a thread"), ["from a thread"]);
  },

  async exception_answers_nothing_and_the_connection_lives(ctx) {
    const socket = await connect(ctx);
    let answered = false;
    socket.emit("exception", () => (answered = true));
    assert.deepEqual(await request(socket, "value", 1), [{ given: 1 }]);
    await sleep(50);
    await fence(socket);
    assert.equal(answered, false);
    assert.equal(socket.connected, true);
  },

  async unknown_event_is_never_answered(ctx) {
    const socket = await connect(ctx);
    let answered = false;
    socket.emit("nobody listens to this", () => (answered = true));
    await fence(socket);
    await sleep(50);
    await fence(socket);
    assert.equal(answered, false);
  },

  async both_handlers_run_and_the_first_answers(ctx) {
    const socket = await connect(ctx);
    const seen = [];
    socket.emit("two handlers", (...args) => seen.push(args));
    await fence(socket);
    assert.deepEqual(seen, [["the namespace's"]]);
    assert.deepEqual(await request(socket, "which ran"), [["namespace", "socket"]]);
  },

  async the_first_answer_in_time_is_the_ack(ctx) {
    const socket = await connect(ctx);
    const seen = [];
    socket.emit("who answers", (...args) => seen.push(args));
    await sleep(120);
    await fence(socket);
    assert.deepEqual(seen, [["quick"]]);
  },

  async answers_find_their_own_callback(ctx) {
    const socket = await connect(ctx);
    const order = [];
    const note = ([answer]) => order.push(answer);
    await Promise.all([
      request(socket, "wait for the other").then(note),
      request(socket, "value", 1).then(([answer]) => order.push(answer.given)),
      request(socket, "the other").then(note),
    ]);
    assert.deepEqual(order, [1, "did not wait", "waited"]);
  },

  async many_requests_at_once(ctx) {
    const socket = await connect(ctx);
    const given = await Promise.all(range(300).map((index) => request(socket, "value", index)));
    assert.deepEqual(
      given,
      range(300).map((index) => [{ given: index }]),
    );
  },

  async client_s_timeout_ends_the_wait(ctx) {
    const socket = await connect(ctx);
    assert.equal((await answerWithin(ctx, socket, 150, "nobody listens to this")).message, "operation has timed out");
    assert.deepEqual(await answerWithin(ctx, socket, 5000, "value", 1), [{ given: 1 }]);
    // An answer that is too late is dropped, and the next request gets its own.
    const late = await answerWithin(ctx, socket, 100, "later", 0.2, "late");
    assert.equal(late.message, "operation has timed out");
    await sleep(150);
    assert.deepEqual(await answerWithin(ctx, socket, 5000, "value", 2), [{ given: 2 }]);
  },

  async emit_with_ack_of_the_client(ctx) {
    const socket = await connect(ctx);
    // The older client knows the callback only; both must give the first argument of the same packet.
    const ask = (...args) =>
      ctx.client >= 4 ? socket.emitWithAck(...args) : request(socket, ...args).then(([first]) => first);
    assert.deepEqual(await ask("value", "x"), { given: "x" });
    assert.equal(await ask("several"), 1);
    assert.equal(await ask("nothing"), undefined);
  },

  async client_answers_nothing(ctx) {
    const socket = await connect(ctx);
    socket.on("question", (answer) => answer());
    assert.deepEqual(await request(socket, "ask", "question"), ["None"]);
  },

  async client_answers_one_value(ctx) {
    const socket = await connect(ctx);
    socket.on("question", (text, answer) => answer([text, 1]));
    assert.deepEqual(await request(socket, "ask", "question", "x"), ["['x', 1]"]);
  },

  async client_answers_several_values(ctx) {
    const socket = await connect(ctx);
    socket.on("question", (answer) => answer(1, null, { a: "b" }));
    assert.deepEqual(await request(socket, "ask", "question"), ["(1, None, {'a': 'b'})"]);
  },

  async client_answers_null(ctx) {
    const socket = await connect(ctx);
    socket.on("question", (answer) => answer(null));
    assert.deepEqual(await request(socket, "ask", "question"), ["None"]);
  },

  async client_answers_twice(ctx) {
    const socket = await connect(ctx);
    socket.on("question", (answer) => {
      answer("first");
      answer("second");
    });
    assert.deepEqual(await request(socket, "ask", "question"), ["'first'"]);
    await fence(socket);
  },

  async question_within_a_question(ctx) {
    const socket = await connect(ctx);
    socket.on("double", (number, answer) => answer(number * 2));
    const given = await Promise.all(range(20).map((number) => request(socket, "ask and answer", number)));
    assert.deepEqual(
      given,
      range(20).map((number) => [number * 2]),
    );
  },

  async server_s_wait_times_out(ctx) {
    const socket = await connect(ctx);
    for (const way of ["argument", "modifier"]) {
      const [result] = await request(socket, "ask for too long", way);
      assert.equal(result.timeout, true);
      assert.ok(result.seconds >= 0.19 && result.seconds < 2, `${way}: ${result.seconds} s`);
    }
  },

  async late_answer_of_the_client_is_passed_over(ctx) {
    const socket = await connect(ctx);
    let answerLate;
    socket.on("never answered", (answer) => (answerLate = answer));
    await request(socket, "ask for too long", "argument");
    answerLate("too late");
    socket.io._packet({ type: 3, nsp: "/acks", id: 987654, data: [], options: {} });
    assert.deepEqual(await request(socket, "value", 1), [{ given: 1 }]);
  },

  async server_s_callback_gets_the_answer(ctx) {
    const socket = await connect(ctx);
    socket.on("question", (text, answer) => answer(text, 2));
    const got = next(socket, "callback got");
    socket.emit("ask with a callback");
    assert.deepEqual(await got, ["('callback', 2)"]);
  },

  async leaving_ends_the_server_s_wait(ctx) {
    const socket = await connect(ctx);
    socket.on("please leave", () => socket.disconnect());
    socket.emit("ask who leaves");
    assert.deepEqual(await ctx.notes("asked who left"), [["Disconnected", true]]);
  },

  async broadcast_gathers_all_answers(ctx) {
    const [asker] = await room(ctx, "all", 1, 2, 3);
    const [result] = await request(asker, "poll", "all", 5);
    assert.deepEqual(result, { timeout: false, answers: [1, 2, 3] });
  },

  async broadcast_gathers_first_arguments(ctx) {
    const [asker] = await room(ctx, "first", ["a", "x"], ["b", "y"]);
    const [result] = await request(asker, "poll", "first", 5, "more");
    assert.deepEqual(result, { timeout: false, answers: ["a", "b"] });
  },

  async broadcast_times_out_with_the_answers_so_far(ctx) {
    const [asker] = await room(ctx, "some", 1, undefined, 3);
    const [result] = await request(asker, "poll", "some", 0.4);
    assert.deepEqual(result, { timeout: true, answers: [1, 3] });
  },

  async broadcast_to_nobody_gathers_nothing(ctx) {
    const socket = await ctx.connect("/acks-broadcast");
    const [result] = await request(socket, "poll", "an empty room", 5);
    assert.deepEqual(result, { timeout: false, answers: [] });
  },

  async broadcast_of_bytes_gathers_answers(ctx) {
    const [asker] = await room(ctx, "bytes", [], []);
    const [result] = await request(asker, "poll", "bytes", 5, Buffer.from("x"));
    assert.deepEqual(result, { timeout: false, answers: [Buffer.from("x"), Buffer.from("x")] });
  },

  async broadcast_of_a_socket_asks_the_others(ctx) {
    const [asker] = await room(ctx, "others", "me", "you", "they");
    assert.deepEqual(await request(asker, "poll the others", "others"), [["they", "you"]]);
  },

  async fetched_socket_answers(ctx) {
    const [asker, other] = await room(ctx, "fetched", "me", "you");
    assert.deepEqual(await request(asker, "poll a fetched one", other.id), ["you"]);
  },

  async other_servers_have_nothing_to_say(ctx) {
    const socket = await ctx.connect("/acks-broadcast");
    assert.deepEqual(await request(socket, "ask the other servers"), [[]]);
  },

  async unanswered_question_stands_in_nobody_s_way(ctx) {
    const socket = await connect(ctx);
    const questions = collect(socket, "question");
    let answered = false;
    socket.emit("ask", "question", () => (answered = true));
    await until(() => questions.length === 1);
    assert.deepEqual(await request(socket, "value", 3), [{ given: 3 }]);
    assert.equal(answered, false);
  },
};

import assert from "node:assert/strict";

import { fence, next, opened, range, request } from "../context.mjs";

const connect = (ctx) => ctx.connect("/dispatch");

// What the socket's handlers wrote down, once there is nothing more to come.
async function log(socket, count) {
  for (;;) {
    const [lines] = await request(socket, "log");
    if (lines.length >= count) return lines;
  }
}

export const dispatch = {
  async handlers_start_in_the_order_of_their_packets(ctx) {
    const socket = await connect(ctx);
    for (const number of range(100)) socket.emit("async", number, 0);
    assert.deepEqual(
      await log(socket, 200),
      range(100).flatMap((number) => [`start ${number}`, `end ${number}`]),
    );
  },

  async suspended_handler_lets_the_next_one_start(ctx) {
    const socket = await connect(ctx);
    socket.emit("wait");
    socket.emit("async", "next", 0);
    socket.emit("release");
    assert.deepEqual(await log(socket, 5), ["start waiting", "start next", "end next", "release", "end waiting"]);
  },

  async ordered_handlers_wait_for_each_other(ctx) {
    const socket = await connect(ctx);
    const answers = [
      ["a", 0.06],
      ["b", 0.03],
      ["c", 0],
    ].map(([name, delay]) => request(socket, "ordered", name, delay));
    assert.deepEqual(await Promise.all(answers), [["a"], ["b"], ["c"]]);
    assert.deepEqual(await log(socket, 6), ["start a", "end a", "start b", "end b", "start c", "end c"]);
  },

  async ordered_holds_for_the_connection_handler_too(ctx) {
    const socket = ctx.socket("/dispatch-ordered");
    const first = request(socket, "step", 0.01);
    const second = request(socket, "step", 0);
    await opened(socket);
    assert.deepEqual(await first, [["connection began", "connection ended", "step 0.01", "step 0.01 ended"]]);
    const [steps] = await second;
    assert.deepEqual(steps.slice(4), ["step 0", "step 0 ended"]);
  },

  async plain_functions_run_in_threads_one_at_a_time_in_order(ctx) {
    const socket = await connect(ctx);
    const answers = [
      ["a", 0.06],
      ["b", 0.03],
      ["c", 0],
    ].map(([name, delay]) => request(socket, "plain", name, delay));
    const [main] = await request(socket, "main thread");
    for (const [thread] of await Promise.all(answers)) assert.notEqual(thread, main);
    assert.deepEqual(await log(socket, 6), ["start a", "end a", "start b", "end b", "start c", "end c"]);
  },

  async plain_functions_of_two_sockets_run_side_by_side(ctx) {
    const [one, other] = await ctx.connectMany(2, "/dispatch");
    const order = [];
    await Promise.all([
      request(one, "plain", "slow", 1).then(() => order.push("slow")),
      request(other, "plain", "quick", 0).then(() => order.push("quick")),
    ]);
    assert.deepEqual(order, ["quick", "slow"]);
  },

  async blocking_function_does_not_block_the_loop(ctx) {
    const [one, other] = await ctx.connectMany(2, "/dispatch");
    const order = [];
    await Promise.all([
      request(one, "plain", "slow", 1).then(() => order.push("slow")),
      fence(other).then(() => order.push("fence")),
    ]);
    assert.deepEqual(order, ["fence", "slow"]);
  },

  async inline_functions_run_on_the_loop_s_thread(ctx) {
    const socket = await connect(ctx);
    const [main] = await request(socket, "main thread");
    assert.deepEqual(await request(socket, "inline", 1), [main]);
    const event = next(socket, "inline event");
    assert.deepEqual(await request(socket, "inline answer", { a: 1 }), [{ a: 1 }, "inline"]);
    assert.deepEqual(await event, [{ a: 1 }]);
  },

  async all_kinds_of_handlers_keep_the_order_of_starting(ctx) {
    const socket = await connect(ctx);
    socket.emit("inline", 1);
    socket.emit("async", 2, 0);
    socket.emit("plain", 3, 0);
    socket.emit("inline", 4);
    socket.emit("async", 5, 0);
    const lines = await log(socket, 8);
    // A threaded handler has started when a thread took it; its first line may come a little later.
    const starts = lines.filter((line) => !line.startsWith("end"));
    assert.deepEqual(
      starts.filter((line) => line !== "start 3"),
      ["inline 1", "start 2", "inline 4", "start 5"],
    );
    assert.ok(starts.indexOf("start 3") > starts.indexOf("start 2"), starts.join());
  },

  async failing_handlers_do_not_stop_the_next(ctx) {
    const socket = await connect(ctx);
    for (const event of ["fails", "fails inline", "fails in a thread"]) socket.emit(event);
    socket.emit("async", "after", 0);
    const lines = await log(socket, 5);
    assert.deepEqual(
      lines.filter((line) => line !== "fails in a thread"),
      ["fails", "fails inline", "start after", "end after"],
    );
    assert.ok(lines.includes("fails in a thread"));
    assert.equal(socket.connected, true);
  },

  async many_suspended_handlers(ctx) {
    const socket = await connect(ctx);
    for (const number of range(300)) socket.emit("async", number, 0.02);
    const lines = await log(socket, 600);
    const starts = lines.filter((line) => line.startsWith("start"));
    assert.deepEqual(
      starts,
      range(300).map((number) => `start ${number}`),
    );
  },

  async surplus_arguments_are_dropped(ctx) {
    const socket = await connect(ctx);
    assert.deepEqual(await request(socket, "none", 1, 2, 3), ["none"]);
    assert.deepEqual(await request(socket, "one", "a", "b"), ["'a'"]);
    assert.deepEqual(await request(socket, "keyword only", 1, 2), ["(1, 'usual')"]);
    assert.deepEqual(await request(socket, "plain two", 1, 2, 3), ["(1, 2)"]);
    assert.deepEqual(await request(socket, "callable", 1, 2), ["1"]);
  },

  async missing_arguments_take_the_default_or_none(ctx) {
    const socket = await connect(ctx);
    assert.deepEqual(await request(socket, "one"), ["None"]);
    assert.deepEqual(await request(socket, "two with default", 1), ["(1, 'default')"]);
    assert.deepEqual(await request(socket, "two with default"), ["(None, 'default')"]);
    assert.deepEqual(await request(socket, "plain two"), ["(None, None)"]);
    assert.deepEqual(await request(socket, "inline two"), ["(None, 2)"]);
    assert.deepEqual(await request(socket, "method", 1), ["(1, 'm')"]);
  },

  async star_takes_all_arguments(ctx) {
    const socket = await connect(ctx);
    assert.deepEqual(await request(socket, "all"), ["(None, ())"]);
    assert.deepEqual(await request(socket, "all", 1), ["(1, ())"]);
    assert.deepEqual(await request(socket, "all", 1, 2, 3), ["(1, (2, 3))"]);
  },
};

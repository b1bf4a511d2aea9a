import assert from "node:assert/strict";

import { collect, fence, processes, range, request, sleep, until } from "../context.mjs";

// Sockets of a namespace, each in the rooms which are listed for it, and what each of them heard.
async function cast(ctx, namespace, ...rooms) {
  const sockets = await ctx.connectMany(rooms.length, namespace);
  const heard = sockets.map((socket) => collect(socket, "said"));
  sockets.forEach((socket, index) => socket.emit("join", ...rooms[index]));
  await fence(...sockets);
  return { sockets, heard };
}

async function say(sockets, speaker, steps, ...args) {
  speaker.emit("say", steps, ...args);
  await fence(speaker);
  await fence(...sockets);
}

function texts(heard) {
  return heard.map((events) => events.map(([text]) => text).join());
}

export const rooms = {
  async socket_is_in_the_room_of_its_id(ctx) {
    const socket = await ctx.connect("/rooms-membership");
    assert.deepEqual(await request(socket, "join", []), [[socket.id]]);
    assert.deepEqual(await request(socket, "members", socket.id), [[socket.id]]);
  },

  async join_one_and_several(ctx) {
    const socket = await ctx.connect("/rooms-membership");
    assert.deepEqual(await request(socket, "join", "one"), [[socket.id, "one"].sort()]);
    assert.deepEqual(await request(socket, "join", ["two", "three", "one"]), [
      [socket.id, "one", "two", "three"].sort(),
    ]);
  },

  async members_are_those_of_the_process(ctx) {
    const sockets = await ctx.connectMany(2, "/rooms-membership");
    for (const socket of sockets) await request(socket, "join", "shared by two");
    const where = await processes(...sockets);
    for (const [index, socket] of sockets.entries()) {
      const here = sockets.filter((_, other) => where[other] === where[index]);
      assert.deepEqual(await request(socket, "members", "shared by two"), [here.map(({ id }) => id).sort()]);
    }
  },

  async leave_a_room(ctx) {
    const socket = await ctx.connect("/rooms-membership");
    await request(socket, "join", ["a", "b"]);
    assert.deepEqual(await request(socket, "leave", "a"), [[socket.id, "b"].sort()]);
    assert.deepEqual(await request(socket, "leave", "never joined"), [[socket.id, "b"].sort()]);
  },

  async rooms_are_named_by_text(ctx) {
    const socket = await ctx.connect("/rooms-membership");
    assert.deepEqual(await request(socket, "join wrongly"), [["1", "None", "['fine', 2]"]]);
    assert.deepEqual(await request(socket, "join", "ünïcode ☃"), [[socket.id, "ünïcode ☃"].sort()]);
  },

  async rooms_are_left_on_disconnect(ctx) {
    const socket = await ctx.connect("/rooms-membership");
    const { id } = socket;
    const watcher = await ctx.connect("/rooms-membership");
    await request(socket, "join", ["left behind", "and this"]);
    socket.disconnect();
    assert.deepEqual(await ctx.notes(`rooms while leaving ${id}`), [["and this", "left behind"]]);
    assert.deepEqual(await ctx.notes(`rooms after leaving ${id}`), [[]]);
    for (const room of ["left behind", "too late", id]) assert.deepEqual(await request(watcher, "members", room), [[]]);
  },

  async to_in_and_except(ctx) {
    const { sockets, heard } = await cast(ctx, "/rooms-targets", ["a"], ["b"], ["a", "b"], ["c"], []);
    const [speaker] = sockets;
    await say(sockets, speaker, [["server"], ["to", "a"]], "1");
    await say(sockets, speaker, [["server"], ["in_", "b"]], "2");
    await say(sockets, speaker, [["server"], ["except_", "a"]], "3");
    await say(sockets, speaker, [["server"], ["to", "a"], ["except_", "b"]], "4");
    await say(sockets, speaker, [["server"], ["except_", ["a", "c"]]], "5");
    await say(sockets, speaker, [["server"], ["to", "nobody is here"]], "6");
    assert.deepEqual(texts(heard), ["1,4", "2,3,5", "1,2", "3", "3,5"]);
  },

  async several_rooms_without_duplicates(ctx) {
    const { sockets, heard } = await cast(ctx, "/rooms-duplicates", ["a"], ["b"], ["a", "b", "c"], ["d"]);
    const [speaker] = sockets;
    await say(sockets, speaker, [["server"], ["to", ["a", "b"]]], "1");
    await say(sockets, speaker, [["server"], ["to", "a"], ["to", "b"], ["to", "c"]], "2");
    await say(sockets, speaker, [["server"], ["to", "a"], ["in_", "b"], ["except_", sockets[1].id]], "3");
    assert.deepEqual(texts(heard), ["1,2,3", "1,2", "1,2,3", ""]);
  },

  async a_socket_speaks_to_the_others(ctx) {
    const { sockets, heard } = await cast(ctx, "/rooms-sender", ["a"], ["a"], ["b"], []);
    const [speaker] = sockets;
    await say(sockets, speaker, [["socket"], ["to", "a"]], "1");
    await say(sockets, speaker, [["socket"], ["in_", "b"]], "2");
    await say(sockets, speaker, [["socket"], ["except_", "b"]], "3");
    await say(sockets, speaker, [["socket"], ["broadcast"]], "4");
    await say(sockets, speaker, [["socket"], ["broadcast"], ["to", ["a", "b"]]], "5");
    await say(sockets, speaker, [["socket"], ["local"], ["to", "b"]], "6");
    await say(sockets, speaker, [["socket"], ["local"]], "7");
    const [own, ...others] = await processes(...sockets);
    const local = others.map((other) => other === own);
    const expected = ["1,3,4,5", "2,4,5", "3,4"];
    if (local[1]) expected[1] += ",6";
    assert.deepEqual(texts(heard), ["", ...expected.map((all, index) => (local[index] ? `${all},7` : all))]);
  },

  async private_message_by_id(ctx) {
    const { sockets, heard } = await cast(ctx, "/rooms-private", [], [], []);
    const [speaker, listener] = sockets;
    await say(sockets, speaker, [["server"], ["to", listener.id]], "1");
    await say(sockets, speaker, [["socket"], ["to", listener.id]], "2");
    await say(sockets, speaker, [["socket"], ["to", speaker.id]], "to myself: nobody");
    await say(sockets, speaker, [["server"], ["to", speaker.id]], "3");
    assert.deepEqual(texts(heard), ["3", "1,2", ""]);
  },

  async everybody_and_every_flag(ctx) {
    const { sockets, heard } = await cast(ctx, "/rooms-everybody", [], [], []);
    const [speaker] = sockets;
    await say(sockets, speaker, [["server"]], "1");
    await say(sockets, speaker, [["server"], ["local"]], "2");
    await say(sockets, speaker, [["server"], ["compress", false]], "3");
    await say(sockets, speaker, [["socket"], ["compress", true]], "4");
    await say(sockets, speaker, [["socket"], ["broadcast"], ["local"], ["compress", false]], "5");
    const [own, ...others] = await processes(...sockets);
    const expected = others.map((other) => (other === own ? "1,2,3,5" : "1,3"));
    assert.deepEqual(texts(heard), ["1,2,3,4", ...expected]);
  },

  async rooms_belong_to_their_namespace(ctx) {
    const here = await cast(ctx, "/rooms-isolated", ["same name"]);
    const there = await cast(ctx, "/rooms-isolated-too", ["same name"]);
    const all = [...here.sockets, ...there.sockets];
    await say(all, here.sockets[0], [["server"], ["to", "same name"]], "here");
    await say(all, there.sockets[0], [["server"]], "there");
    assert.deepEqual(texts([...here.heard, ...there.heard]), ["here", "there"]);
  },

  async operators_are_immutable_and_reusable(ctx) {
    const { sockets, heard } = await cast(ctx, "/rooms-operators", ["a"], ["a"], ["b"], ["b", "c"]);
    assert.deepEqual(await request(sockets[0], "reuse"), [[true, true]]);
    await fence(...sockets);
    const common = ["a", "a or b", "a or b, not c", "a again"];
    assert.deepEqual(
      heard.map((events) => events.map(([text]) => text)),
      [[...common, "only me"], [...common, "a, not me"], ["a or b", "a or b, not c"], ["a or b"]],
    );
  },

  async twenty_clients_hear_each_message_once(ctx) {
    const { sockets, heard } = await cast(ctx, "/rooms-crowd", ...range(20).map(() => ["crowd"]));
    for (const number of range(10)) sockets[number].emit("say", [["server"], ["to", "crowd"]], number);
    await fence(...sockets);
    await fence(...sockets);
    for (const events of heard) assert.deepEqual(events.map(([number]) => number).sort(), range(10));
    // What one process sends is in one order for all; between two there is none.
    const where = await processes(...sockets);
    for (const each of new Set(where)) {
      const [reference, ...others] = heard.map((events) => events.filter(([number]) => where[number] === each));
      for (const events of others) assert.deepEqual(events, reference);
    }
  },

  async fetched_sockets(ctx) {
    const { sockets } = await cast(ctx, "/rooms-remote", ["fetch", "x"], ["fetch"], []);
    sockets[0].emit("remember", { name: "first" });
    await fence(...sockets);
    const [found] = await request(sockets[2], "fetch", "fetch");
    const expected = [
      {
        id: sockets[0].id,
        rooms: [sockets[0].id, "fetch", "x"].sort(),
        data: { value: { name: "first" } },
        told: true,
      },
      { id: sockets[1].id, rooms: [sockets[1].id, "fetch"].sort(), data: {}, told: true },
    ].sort((one, other) => (one.id < other.id ? -1 : 1));
    assert.deepEqual(found, expected);
    const [everybody] = await request(sockets[2], "fetch");
    for (const { id } of sockets) assert.ok(everybody.some((record) => record.id === id));
    const [live] = await request(sockets[2], "live");
    const where = await processes(...sockets);
    for (const [index, { id }] of sockets.entries()) assert.equal(live.includes(id), where[index] === where[2]);
  },

  async sockets_join_and_leave_by_room(ctx) {
    const { sockets, heard } = await cast(ctx, "/rooms-remote", ["movers", "old"], ["movers"], ["others", "old"]);
    const [speaker] = sockets;
    speaker.emit("move", "movers", ["new", "newer"], ["old"]);
    await fence(speaker);
    await say(sockets, speaker, [["server"], ["to", "new"]], "new");
    await say(sockets, speaker, [["server"], ["to", "newer"]], "newer");
    await say(sockets, speaker, [["server"], ["to", "old"]], "old");
    assert.deepEqual(texts(heard), ["new,newer", "new,newer", "old"]);
  },

  async sockets_join_for_everybody(ctx) {
    const connect = () => ctx.connect("/", { server: "alone" });
    const sockets = [await connect(), await connect()];
    const heard = sockets.map((socket) => collect(socket, "said"));
    sockets[0].emit("move", "", ["all of us"], []);
    await fence(sockets[0]);
    await say(sockets, sockets[1], [["socket"], ["to", "all of us"]], "hello");
    assert.deepEqual(texts(heard), ["hello", ""]);
    const [first, second] = await processes(...sockets);
    const live = first === second ? sockets : sockets.slice(0, 1);
    assert.deepEqual(await request(sockets[0], "live"), [live.map(({ id }) => id).sort()]);
  },

  async a_fetched_socket_acts(ctx) {
    const { sockets, heard } = await cast(ctx, "/rooms-remote", [], []);
    const [speaker, chosen] = sockets;
    speaker.emit("use one", chosen.id);
    await until(() => heard[1].length >= 2);
    await sleep(20);
    await fence(...sockets);
    assert.deepEqual(heard, [[], [["hello, you"], ["hello, chosen ones"]]]);
  },

  async room_events(ctx) {
    const socket = await ctx.connect("/rooms-events");
    const { id } = socket;
    const second = await ctx.connect("/rooms-events");
    socket.emit("join", "watched");
    await fence(socket);
    second.emit("join", "watched");
    await fence(second);
    socket.emit("leave", "watched");
    await fence(socket);
    const secondId = second.id;
    const where = await processes(socket, second);
    second.disconnect();
    await sleep(50);
    const noted = async (wanted) => (await ctx.notes("room events")).filter(([, , room]) => room === wanted);
    const wanted = [
      ["create", "watched"],
      ["join", "watched", id],
      ["join", "watched", secondId],
      ["leave", "watched", id],
      ["leave", "watched", secondId],
      ["delete", "watched"],
    ];
    let events;
    do events = await noted("watched");
    while (events.length < 4 + 2 * new Set(where).size);
    // A process tells of its own sockets only.
    for (const process of where) {
      const here = [id, secondId].filter((_, index) => where[index] === process);
      assert.deepEqual(
        events.filter(([pid]) => pid === process).map(([, ...event]) => event),
        wanted.filter(([, , joined]) => joined === undefined || here.includes(joined)),
      );
    }
    const own = (await noted(id)).map(([, ...event]) => event);
    assert.deepEqual(own, [
      ["create", id],
      ["join", id, id],
    ]);
  },

  async data_belongs_to_the_socket(ctx) {
    const [one, other] = await ctx.connectMany(2, "/rooms-data");
    await request(one, "remember", "a", 1);
    assert.deepEqual(await request(one, "remember", "b", [2]), [{ a: 1, b: [2] }]);
    assert.deepEqual(await request(other, "remember", "c", 3), [{ c: 3 }]);
  },

  async data_of_a_type_of_the_user_s(ctx) {
    const [one, other] = [
      await ctx.connect("/", { server: "profiled" }),
      await ctx.connect("/", { server: "profiled" }),
    ];
    assert.deepEqual(await request(one, "visit"), [2]);
    assert.deepEqual(await request(one, "visit"), [3]);
    assert.deepEqual(await request(other, "visit"), [2]);
  },
};

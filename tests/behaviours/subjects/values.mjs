import assert from "node:assert/strict";

import { collect, fence, next, range, request } from "../context.mjs";

const connect = (ctx) => ctx.connect("/values");

async function roundTrip(ctx, ...values) {
  const socket = await connect(ctx);
  assert.deepEqual(await request(socket, "echo", ...values), values);
}

async function inPython(ctx, ...values) {
  const socket = await connect(ctx);
  const [seen] = await request(socket, "repr", ...values);
  return seen;
}

export const values = {
  async request_and_response(ctx) {
    const socket = await connect(ctx);
    const response = next(socket, "response");
    socket.emit("request", { data: "Send Request" });
    assert.deepEqual(await response, [{ data: "Receive Respond", to: { data: "Send Request" } }]);
  },

  async every_type_arrives_as_its_python_counterpart(ctx) {
    const seen = await inPython(ctx, null, true, false, 0, -7, 1.5, "text", [], {}, [1, [2]], { a: { b: null } });
    assert.equal(seen, "[None, True, False, 0, -7, 1.5, 'text', [], {}, [1, [2]], {'a': {'b': None}}]");
  },

  async every_type_comes_back_unchanged(ctx) {
    await roundTrip(ctx, null, true, false, 0, -7, 1.5, "text", "", [], {}, [1, [2, [3]]], {
      a: { b: [null, { c: "d" }] },
    });
  },

  async python_values_arrive(ctx) {
    const socket = await connect(ctx);
    assert.deepEqual(await request(socket, "from python"), [
      null,
      true,
      0,
      -1,
      2 ** 53,
      0.1,
      1e100,
      "",
      "naïve ☃ 🎉",
      [],
      {},
      [1, [2, 3]],
      { b: 1, a: [null, { c: "d" }] },
    ]);
  },

  async numbers_keep_their_value(ctx) {
    await roundTrip(ctx, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 0.1 + 0.2, 5e-324, -1e-7);
    assert.equal(await inPython(ctx, 1.0, 2 ** 53, -0.5), "[1, 9007199254740992, -0.5]");
    if (ctx.parser === "msgpack") return; // its encoder cuts whole numbers off at 64 bits
    await roundTrip(ctx, 1e21, Number.MAX_VALUE);
    assert.equal(await inPython(ctx, 1e21), "[1e+21]");
  },

  async text_of_every_kind(ctx) {
    const texts = [
      "ß ñ 漢字 עברית",
      "👩‍👩‍👧‍👦 🏳️‍🌈",
      "e\u0301",
      "line\nbreak\ttab\r",
      '"\\/\b\f',
      "\u0000\u0001\u007f",
      "\u2028\u2029\ufeff",
    ];
    await roundTrip(ctx, ...texts);
    assert.equal(await inPython(ctx, "🎉", "\u0000"), "['🎉', '\\x00']");
  },

  async text_that_looks_like_packets(ctx) {
    await roundTrip(ctx, '42["echo"]', "51-/values,", "\u001e", "a\u001e4b\u001e", "b64", "0{}", "2probe", "3", "6");
    await roundTrip(ctx, { _placeholder: true, num: 0 }, { _placeholder: true, num: "x" });
  },

  async empty_text_and_empty_containers(ctx) {
    await roundTrip(ctx, "", [], {}, [[]], [{}], { "": "" }, [""]);
    assert.equal(await inPython(ctx), "[]");
  },

  async large_text(ctx) {
    const socket = await connect(ctx);
    const text = "0123456789abcde€🎉".repeat(12_000);
    const [length, reversed] = await request(socket, "large", text);
    assert.equal(length, [...text].length);
    assert.equal(reversed, [...text].reverse().join(""));
    assert.ok(text.length >= 200_000);
  },

  async lone_surrogate_becomes_the_replacement_character(ctx) {
    const socket = await connect(ctx);
    assert.deepEqual(await request(socket, "repr", "a\ud83db", { "k\udc00": 1 }), ["['a\ufffdb', {'k\ufffd': 1}]"]);
    assert.deepEqual(await request(socket, "echo", "\ud83d", "🎉", "\udc00\ud800"), ["\ufffd", "🎉", "\ufffd\ufffd"]);
    await fence(socket);
  },

  // JSON has no word for these four; MessagePack has.
  async date_arrives(ctx) {
    const seen = await inPython(ctx, new Date(Date.UTC(2024, 1, 29, 12, 30)), { at: new Date(0) });
    const moment = (...numbers) => `datetime.datetime(${numbers.join(", ")}, tzinfo=datetime.timezone.utc)`;
    const expected =
      ctx.parser === "msgpack"
        ? `[${moment(2024, 2, 29, 12, 30)}, {'at': ${moment(1970, 1, 1, 0, 0)}}]`
        : "['2024-02-29T12:30:00.000Z', {'at': '1970-01-01T00:00:00.000Z'}]";
    assert.equal(seen, expected);
  },

  async datetime_arrives(ctx) {
    const socket = await connect(ctx);
    const [moment] = await request(socket, "moment");
    assert.equal(moment instanceof Date, ctx.parser === "msgpack");
    assert.equal(new Date(moment).getTime(), Date.UTC(2024, 1, 29, 12, 30, 15));
  },

  async undefined_arrives_as_none(ctx) {
    const seen = await inPython(ctx, undefined, [undefined, 1], { gone: undefined, kept: null });
    const gone = ctx.parser === "msgpack" ? "'gone': None, " : "";
    assert.equal(seen, `[None, [None, 1], {${gone}'kept': None}]`);
  },

  async nan_and_infinity_in_both_directions(ctx) {
    const [inPythonsWords, inJavaScripts] =
      ctx.parser === "msgpack" ? ["nan, inf, -inf", [NaN, Infinity, -Infinity]] : ["None, None, None", [null, null, null]];
    assert.equal(await inPython(ctx, NaN, Infinity, -Infinity, 1), `[${inPythonsWords}, 1]`);
    const socket = await connect(ctx);
    assert.deepEqual(await request(socket, "not finite"), [[...inJavaScripts, 1]]);
  },

  async order_of_keys_is_kept(ctx) {
    const socket = await connect(ctx);
    const [seen, given] = await request(socket, "keys in order", { zulu: 1, alpha: 2, mike: 3, bravo: 4 });
    assert.equal(seen, "zulu,alpha,mike,bravo");
    assert.deepEqual(Object.keys(given), ["zeta", "alpha", "mid", "beta"]);
  },

  async deep_nesting(ctx) {
    const deep = range(100).reduce((inner, depth) => (depth % 2 ? [inner] : { inner }), "core");
    await roundTrip(ctx, deep);
  },

  async many_arguments(ctx) {
    await roundTrip(ctx, ...range(200));
  },

  async odd_event_names(ctx) {
    const socket = await connect(ctx);
    const names = ["chat message ☃", "toString", "constructor", "__proto__", "", " ", "a,b", '"quoted"', "/slash", "0"];
    for (const name of names) assert.deepEqual(await request(socket, name, 1), [name, 1]);
  },

  async dataclasses_are_sent_as_objects(ctx) {
    const socket = await connect(ctx);
    const points = next(socket, "points");
    assert.deepEqual(await request(socket, "dataclass"), [{ x: 5, y: 6.5, label: "c" }]);
    assert.deepEqual(await points, [
      [
        { x: 1, y: 2.5, label: "a" },
        { x: 3, y: 4, label: "b" },
      ],
    ]);
  },

  async send_is_the_message_event(ctx) {
    const socket = await connect(ctx);
    const seen = collect(socket, "message");
    socket.send("hello");
    socket.send("several", 2, [3]);
    socket.emit("message", "the same");
    await fence(socket);
    assert.deepEqual(seen, [
      ["you said", "hello"],
      ["you said", "several", 2, [3]],
      ["you said", "the same"],
    ]);
  },
};

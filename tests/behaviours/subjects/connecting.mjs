import assert from "node:assert/strict";

import { WebSocket, collectAll, fence, leave, next, opened, refused, request, sleep, until } from "../context.mjs";

const ID = /^[A-Za-z0-9_-]{20}$/;

// The headers of the answer to a bare handshake over the cell's first transport.
async function handshakeHeaders(ctx, server) {
  if (ctx.firstTransport === "polling") {
    const response = await fetch(`${ctx.endpoint(server)}?EIO=4&transport=polling`);
    assert.equal(response.status, 200);
    const { sid } = JSON.parse((await response.text()).slice(1));
    return { sid, headers: Object.fromEntries(response.headers) };
  }
  const socket = new WebSocket(`${ctx.endpoint(server).replace("http", "ws")}?EIO=4&transport=websocket`);
  const upgraded = next(socket, "upgrade");
  const opening = next(socket, "message");
  const [{ headers }] = await upgraded;
  const [message] = await opening;
  socket.close();
  return {
    sid: JSON.parse(message.toString().slice(1)).sid,
    headers: { ...headers, "set-cookie": headers["set-cookie"]?.[0] },
  };
}

export const connecting = {
  async connect_to_the_root_namespace(ctx) {
    const socket = await ctx.connect("/");
    assert.equal(socket.connected, true);
    assert.match(socket.id, ID);
    // Clients of protocol 4 are not told their id: they take the session's.
    assert.equal(socket.id === socket.io.engine.id, ctx.client === 2);
    await fence(socket);
  },

  async connect_to_a_custom_namespace(ctx) {
    const socket = ctx.socket("/connecting");
    const welcome = next(socket, "welcome");
    await opened(socket);
    assert.deepEqual(await welcome, ["/connecting", socket.id, true]);
  },

  async namespace_from_the_address(ctx) {
    const socket = await opened(ctx.lookup(`${ctx.url()}/connecting`));
    assert.equal(socket.nsp, "/connecting");
    await fence(socket);
  },

  async query_in_the_address(ctx) {
    const socket = await opened(ctx.lookup(`${ctx.url()}/connecting?token=from%20the%20address`));
    const [{ query }] = await request(socket, "handshake");
    assert.equal(query.token, "from the address");
  },

  async engine_id_stays_apart_from_the_socket_id(ctx) {
    const socket = await ctx.connect("/connecting");
    const [ids] = await request(socket, "ids");
    assert.equal(ids.socket, socket.id);
    assert.equal(ids.conn, socket.io.engine.id);
    assert.match(ids.conn, ID);
    assert.notEqual(ids.conn, ids.socket);
    assert.equal(ids.protocol, Number(ctx.eio));
  },

  async auth_object(ctx) {
    // The oldest client has a query in its place, which holds texts.
    const auth = { token: "clé ☃", ...(ctx.client > 2 ? { roles: ["a", "b"], level: 3 } : { level: "3" }) };
    const socket = await ctx.connect("/connecting", { auth });
    const [{ auth: seen }] = await request(socket, "handshake");
    assert.deepEqual(seen, auth);
  },

  async auth_from_a_function(ctx) {
    const auth = (give) => setTimeout(() => give({ token: "late" }), 20);
    const socket = await ctx.connect("/connecting", { auth });
    const [{ auth: seen }] = await request(socket, "handshake");
    assert.deepEqual(seen, { token: "late" });
  },

  async auth_function_is_asked_anew_at_each_connect(ctx) {
    let asked = 0;
    const socket = await ctx.connect("/connecting-counted", { auth: (give) => give({ attempt: ++asked }) });
    const first = socket.id;
    await leave(socket);
    await opened(socket);
    assert.notEqual(socket.id, first);
    const notes = await ctx.notes("connections", 2);
    assert.deepEqual(notes, [
      [first, { attempt: 1 }],
      [socket.id, { attempt: 2 }],
    ]);
  },

  async no_auth_is_an_empty_dict(ctx) {
    const socket = await ctx.connect("/connecting");
    assert.deepEqual(await request(socket, "auth"), ["{}"]);
  },

  async query_reaches_the_handshake(ctx) {
    const socket = await ctx.connect("/connecting", { query: { user: "Zoë & co=1", page: "2" } });
    const [{ query, url }] = await request(socket, "handshake");
    assert.equal(query.user, "Zoë & co=1");
    assert.equal(query.page, "2");
    assert.equal(query.EIO, ctx.eio);
    assert.equal(query.transport, ctx.firstTransport);
    assert.equal(new URL(url, "http://host").searchParams.get("user"), "Zoë & co=1");
  },

  async extra_headers_reach_the_handshake(ctx) {
    const socket = await ctx.connect("/connecting", {
      extraHeaders: { "X-Device": "tablet", Authorization: "Bearer t" },
    });
    const [{ headers }] = await request(socket, "handshake");
    assert.equal(headers["x-device"], "tablet");
    assert.equal(headers.authorization, "Bearer t");
  },

  async every_field_of_the_handshake(ctx) {
    const before = Date.now();
    const socket = await ctx.connect("/connecting");
    const [seen] = await request(socket, "handshake");
    assert.deepEqual(Object.keys(seen), [
      "headers",
      "time",
      "address",
      "xdomain",
      "secure",
      "issued",
      "url",
      "query",
      "auth",
    ]);
    assert.equal(seen.headers.host, new URL(ctx.url()).host);
    assert.ok(Math.abs(Date.parse(seen.time) - before) < 5000, seen.time);
    assert.equal(seen.address, "127.0.0.1");
    assert.equal(seen.xdomain, false);
    assert.equal(seen.secure, false);
    assert.ok(Math.abs(seen.issued - before) < 5000, `issued ${seen.issued}`);
    assert.ok(seen.url.startsWith(`${ctx.path()}/?`), seen.url);
    assert.equal(seen.query.EIO, ctx.eio);
    assert.equal(seen.query.transport, ctx.firstTransport);
    assert.deepEqual(seen.auth, {});
  },

  async scope_of_the_surrounding_application(ctx) {
    const socket = await ctx.connect("/connecting");
    const [scope] = await request(socket, "scope");
    assert.equal(scope.type, ctx.firstTransport === "polling" ? "http" : "websocket");
    assert.equal(scope.address, "127.0.0.1");
    // As the root application there is nobody around it who could have added a session.
    assert.deepEqual(scope.session, ctx.middleware ? { visitor: "anna" } : null);
  },

  async own_origin_is_let_in_as_cross_domain(ctx) {
    const socket = await ctx.connect("/connecting", { extraHeaders: { Origin: ctx.url() } });
    const [{ xdomain, headers }] = await request(socket, "handshake");
    assert.equal(xdomain, true);
    assert.equal(headers.origin, ctx.url());
  },

  async foreign_origin_is_refused(ctx) {
    const error = await refused(ctx.socket("/connecting", { extraHeaders: { Origin: "https://evil.example" } }));
    assert.equal(error.message, ctx.firstTransport === "polling" ? "xhr poll error" : "websocket error");
    const refusedAgain = await refused(ctx.socket("/connecting", { extraHeaders: { Origin: "null" } }));
    assert.equal(refusedAgain.message, error.message);
  },

  async allowed_origin_is_let_in(ctx) {
    const options = { server: "cross_origin", extraHeaders: { Origin: "https://app.example" } };
    const socket = await ctx.connect("/", options);
    await fence(socket);
    await refused(ctx.socket("/", { server: "cross_origin", extraHeaders: { Origin: "https://other.example" } }));
    const answer = await fetch(`${ctx.endpoint("cross_origin")}?EIO=4&transport=polling`, {
      headers: { Origin: "https://app.example" },
    });
    assert.equal(answer.headers.get("access-control-allow-origin"), "https://app.example");
    assert.equal(answer.headers.get("access-control-allow-credentials"), "true");
    assert.match(answer.headers.get("vary") ?? "", /origin/i);
  },

  async allow_request_decides(ctx) {
    const socket = await ctx.connect("/", { server: "guarded", extraHeaders: { "X-Key": "sesame" } });
    await fence(socket);
    const error = await refused(ctx.socket("/", { server: "guarded" }));
    assert.equal(error.message, ctx.firstTransport === "polling" ? "xhr poll error" : "websocket error");
  },

  async events_sent_before_connect_arrive_after_it_in_order(ctx) {
    const socket = ctx.socket("/connecting-early");
    const answers = ["a", "b", "c"].map((text) => request(socket, "question", text));
    const seen = collectAll(socket, "second");
    await opened(socket);
    assert.deepEqual(await Promise.all(answers), [["A"], ["B"], ["C"]]);
    assert.deepEqual(seen, [
      ["second", "a"],
      ["second", "b"],
      ["second", "c"],
    ]);
  },

  async suspended_connection_handler_holds_nothing_back(ctx) {
    const socket = ctx.socket("/connecting-suspended");
    const seen = collectAll(socket, "begun", "asked", "ended");
    await opened(socket);
    socket.emit("ask");
    await until(() => seen.length === 3);
    assert.deepEqual(seen, [["begun"], ["asked"], ["ended"]]);
  },

  async what_connection_handlers_emit_comes_after_the_connect_packet(ctx) {
    const socket = ctx.socket("/connecting-early");
    const packets = [];
    socket.io.on("packet", ({ type, nsp }) => nsp === socket.nsp && packets.push(type));
    const last = next(socket, "third");
    await opened(socket);
    await last;
    assert.deepEqual(packets, [0, 2, 2]);
  },

  async connect_while_connected_changes_nothing(ctx) {
    const socket = await ctx.connect("/connecting");
    const { id } = socket;
    let again = 0;
    socket.on("connect", () => again++);
    socket.connect();
    socket.open();
    await fence(socket);
    assert.equal(socket.id, id);
    assert.equal(again, 0);
  },

  async connect_again_after_leaving_gives_a_new_id(ctx) {
    const socket = await ctx.connect("/connecting");
    const ids = new Set([socket.id]);
    for (let times = 0; times < 3; times++) {
      await leave(socket);
      assert.equal(socket.id, undefined);
      await opened(socket);
      await fence(socket);
      ids.add(socket.id);
    }
    assert.equal(ids.size, 4);
  },

  async second_connect_packet_closes_the_connection(ctx) {
    const socket = await ctx.connect("/connecting");
    await ctx.settled(socket);
    const left = next(socket, "disconnect");
    socket.io._packet({ type: 0, nsp: "/connecting" });
    ctx.assertCutOff((await left)[0]);
  },

  async event_before_connect_closes_the_connection(ctx) {
    const manager = ctx.manager();
    manager.open();
    await next(manager, "open");
    await ctx.settled({ io: manager });
    const closed = next(manager, "close");
    // The oldest client is in the main namespace without asking.
    const nsp = ctx.client === 2 ? "/connecting" : "/";
    manager._packet({ type: 2, nsp, data: ["too early"], options: {} });
    ctx.assertCutOff((await closed)[0]);
  },

  async connection_without_connect_is_closed(ctx) {
    const manager = ctx.manager({ server: "impatient" });
    manager.open();
    await next(manager, "open");
    const opening = performance.now();
    assert.equal((await next(manager, "close"))[0], "transport close");
    assert.ok(performance.now() - opening > 100);
    const socket = await ctx.connect("/", { server: "impatient" });
    await sleep(600);
    assert.equal(socket.connected, true);
    await fence(socket);
  },

  async cookie_option_sets_the_cookie(ctx) {
    const { sid, headers } = await handshakeHeaders(ctx, "with_cookie");
    const [pair, ...attributes] = headers["set-cookie"].split("; ");
    assert.equal(pair, `io=${sid}`);
    assert.deepEqual(attributes.map((attribute) => attribute.toLowerCase()).sort(), [
      "httponly",
      "path=/",
      "samesite=lax",
    ]);
    assert.equal((await handshakeHeaders(ctx, "main")).headers["set-cookie"], undefined);
    await fence(await ctx.connect("/", { server: "with_cookie" }));
  },

  async engine_listeners_add_headers(ctx) {
    const { headers } = await handshakeHeaders(ctx, "with_headers");
    assert.equal(headers["x-initial"], "once");
    assert.equal(headers["x-every"], "time");
    // The middleware around the mounted application had its say too.
    assert.equal(headers["x-visit"], ctx.middleware ? "yes" : undefined);
    await fence(await ctx.connect("/", { server: "with_headers" }));
  },

  async bad_requests_get_the_protocol_s_answers(ctx) {
    const address = ctx.endpoint();
    const answers = [];
    for (const [query, method] of [
      ["EIO=4&transport=carrier-pigeon", "GET"],
      [`EIO=4&transport=${ctx.firstTransport}&sid=AAAAAAAAAAAAAAAAAAAA`, "GET"],
      ["EIO=4&transport=polling", "POST"],
      ["EIO=4&transport=websocket", "GET"],
      ["EIO=5&transport=polling", "GET"],
    ]) {
      const response = await fetch(`${address}?${query}`, { method, body: method === "POST" ? "40" : undefined });
      answers.push([response.status, await response.json()]);
    }
    assert.deepEqual(answers, [
      [400, { code: 0, message: "Transport unknown" }],
      [400, { code: 1, message: "Session ID unknown" }],
      [400, { code: 2, message: "Bad handshake method" }],
      [400, { code: 3, message: "Bad request" }],
      [400, { code: 5, message: "Unsupported protocol version" }],
    ]);
    const noted = async ([, { code, message }]) =>
      (await ctx.notes("connection_errors")).some((note) => note[0] === code && note[1] === message);
    for (const answer of answers) while (!(await noted(answer))) await sleep(20);
    assert.equal((await fetch(`${ctx.url()}/elsewhere`)).status, 404);
  },

  async clients_are_counted(ctx) {
    assert.equal(await ctx.ask("clients_count"), 0);
    const sockets = await ctx.connectMany(3, "/", { server: "counted" });
    assert.equal(await ctx.ask("clients_count"), 3);
    for (const socket of sockets) socket.disconnect();
    while ((await ctx.ask("clients_count")) > 0) await sleep(20);
  },
};

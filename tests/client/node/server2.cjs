// The stage on socket.io 2: `node server2.cjs [options]`. It prints {"port", "version"}, and ends when its standard
// input does.

"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");

const { engineOptions, run } = require("./stage.cjs");

const installed = createRequire(path.join(__dirname, "../../node/package.json"));
const { version } = installed("socket.io-2/package.json");

run(version, (httpServer, options) => {
  if (options.recovery) throw new Error("socket.io 2 has no recovery");
  return installed("socket.io-2")(httpServer, {
    ...engineOptions(options),
    cookie: options.cookie ?? false,
    ...(options.parser === "msgpack" && { parser: installed("socket.io-msgpack-parser-2") }),
  });
});

// The stage on socket.io 4: `node server4.mjs [options]`. It prints {"port", "version"}, and ends when its standard
// input does.

import { createRequire } from "node:module";

import { engineOptions, run } from "./stage.cjs";

const installed = createRequire(new URL("../../node/package.json", import.meta.url));
const { Server } = installed("socket.io");

run(installed("socket.io/package.json").version, (httpServer, options) => {
  const duration = Number(options["recovery-seconds"]) * 1000;
  return new Server(httpServer, {
    ...engineOptions(options),
    allowEIO3: options["allow-eio3"],
    ...(options.parser === "msgpack" && { parser: installed("socket.io-msgpack-parser") }),
    ...(options.recovery && { connectionStateRecovery: { maxDisconnectionDuration: duration } }),
    ...(options.cookie && { cookie: { name: options.cookie, path: "/", httpOnly: true } }),
  });
});

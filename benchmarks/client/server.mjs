// Node's server, for one row of the table: `node benchmarks/client/server.mjs PORT`. Its events are those of `server.py`.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../tests/node/", import.meta.url));
const { Server } = require("socket.io");

const io = new Server(Number(process.argv[2]), { serveClient: false });
io.on("connection", (socket) => {
  socket.on("echo", (data) => socket.emit("echo", data));
  socket.on("ack", (data, acknowledge) => acknowledge(data));
});

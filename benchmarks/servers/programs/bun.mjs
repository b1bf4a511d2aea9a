// Socket.IO on Bun by its own engine: `bun bun.mjs PORT SETTING`.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";
import { certificates, engineOptions, options, port, register } from "./events.mjs";

const io = new Server(options);
const engine = new Engine({ path: "/socket.io/", ...engineOptions });
io.bind(engine);
register(io);
Bun.serve({ hostname: "127.0.0.1", port, ...(certificates && { tls: certificates }), ...engine.handler() });

// Node's server: `node node.mjs PORT SETTING`. Without `bufferutil` where WS_NO_BUFFER_UTIL is set.
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { Server } from "socket.io";
import { certificates, engineOptions, options, port, register } from "./events.mjs";

const http = certificates ? createSecureServer(certificates) : createServer();
register(new Server(http, { ...options, ...engineOptions }));
http.listen({ port, host: "127.0.0.1", backlog: 1024 });

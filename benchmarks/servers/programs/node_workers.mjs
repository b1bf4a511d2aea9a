// Node's server in several processes: `node node_workers.mjs PORT workersN`. The first process hands each connection to
// the worker that has its session, by the id in the first request's head, and carries what is for all of them.
import cluster from "node:cluster";
import { createServer } from "node:http";
import { createAdapter, setupPrimary } from "@socket.io/cluster-adapter";
import { setupMaster, setupWorker } from "@socket.io/sticky";
import { Server } from "socket.io";
import { engineOptions, options, port, register } from "./events.mjs";

if (cluster.isPrimary) {
  const http = createServer();
  setupMaster(http, { loadBalancingMethod: "least-connection" });
  setupPrimary();
  http.listen({ port, host: "127.0.0.1", backlog: 1024 });
  for (let count = Number(process.argv[3].replace("workers", "")); count > 0; count--) cluster.fork();
} else {
  const io = new Server(createServer(), { ...options, ...engineOptions });
  io.adapter(createAdapter());
  setupWorker(io);
  register(io);
}

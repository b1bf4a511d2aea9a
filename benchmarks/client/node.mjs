// socket.io-client, measured: `node benchmarks/client/node.mjs PLAN`. The same steps as `meter.py` and `ours.py`.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../tests/node/", import.meta.url));
const { io } = require("socket.io-client");

const LOOK_EVERY = 32;

const plan = JSON.parse(process.argv[2]);
const payload = plan.binary ? Buffer.from(Array.from({ length: plan.binary }, (_, i) => i)) : plan.payload;

let count = 0, lookAt = LOOK_EVERY, over = false;
let begun, warm = false, first, wall, cpu, measured;

const seconds = () => performance.now() / 1000;

function tick() {
  count++;
  if (count >= lookAt) look();
  return over;
}

function look() {
  lookAt += LOOK_EVERY;
  const now = seconds();
  if (over) return;
  if (!warm) {
    if (now - begun >= plan.warm_up) {
      warm = true;
      [first, wall, cpu] = [count, now, process.cpuUsage()];
    }
  } else if (now - wall >= plan.seconds || count - first >= plan.most) {
    const used = process.cpuUsage(cpu);
    measured = { count: count - first, cpu: (used.user + used.system) / 1e6, wall: now - wall };
    over = true;
  }
}

function end(socket) {
  socket.disconnect();
  const version = (name) => JSON.parse(require("node:fs").readFileSync(
    new URL(`../../tests/node/node_modules/${name}/package.json`, import.meta.url))).version;
  const versions = { Node: process.version.slice(1), "socket.io-client": version("socket.io-client"), ws: version("ws") };
  console.log(JSON.stringify({ ...measured, versions }));
}

function echo(socket) {
  let ended = false;
  socket.on("echo", (data) => {
    if (!tick()) {
      socket.emit("echo", data);
    } else if (!ended) {
      ended = true;
      end(socket);
    }
  });
  for (let i = 0; i < plan.window; i++) socket.emit("echo", payload);
}

async function ack(socket) {
  const ask = async () => {
    while (!over) {
      await socket.emitWithAck("ack", payload);
      tick();
    }
  };
  await Promise.all(Array.from({ length: plan.window }, ask));
  end(socket);
}

const socket = io(plan.url, { transports: [plan.transport], reconnection: false });
socket.on("connect_error", (error) => {
  console.error(error);
  process.exitCode = 1;
});
socket.on("connect", () => {
  begun = seconds();
  ({ echo, ack })[plan.event](socket);
});

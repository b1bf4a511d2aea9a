// What every server does, as `ours.py` and `python_socketio.py` do it, and its options in each setting.
import { readFileSync } from "node:fs";
import parser from "socket.io-msgpack-parser";

export const [port, setting] = [Number(process.argv[2]), process.argv[3]];

const folder = process.env.BENCHMARK_CERTIFICATES;
export const certificates = setting === "tls" && {
  cert: readFileSync(`${folder}/certificate.pem`),
  key: readFileSync(`${folder}/key.pem`),
};

export const engineOptions = setting === "heartbeat" ? { pingInterval: 1000 } : {};
export const options = {
  msgpack: { parser },
  deflate: { perMessageDeflate: true },
}[setting] ?? {};

const namespaces = setting === "namespaces" ? Array.from({ length: 10 }, (_, number) => `/n${number}`) : ["/"];

export function register(io) {
  let connected = 0;
  for (const name of namespaces) {
    io.of(name).on("connection", (socket) => {
      socket.on("echo", (data) => socket.emit("echo", data));
      socket.on("ack", (data, acknowledge) => acknowledge(data));
      socket.on("broadcast", (data) => io.emit("news", data));
      socket.on("room", (room, data) => io.to(room).emit("news", data));
      socket.on("except", (room, data) => io.to(room).except("half").emit("news", data));
      if (setting === "rooms") {
        const number = connected++;
        socket.join(`r${number % 1000}`);
        if (Math.floor(number / 1000) % 2) socket.join("half");
      }
    });
  }
}

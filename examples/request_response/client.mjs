// The stock JavaScript client: sends one request, prints the response, and is done.

import { io } from "socket.io-client";

const socket = io(process.argv[2] ?? "http://127.0.0.1:20111");

socket.on("connect", () => {
  console.log("Connect to server by Socket.io", socket.id);
  console.log('Send event "request":', { data: "Send Request" });
  socket.emit("request", { data: "Send Request" });
});

socket.on("response", (data) => {
  console.log('Receive event "response":', data);
  socket.disconnect();
});

socket.on("disconnect", (reason) => {
  console.log("Disconnect from server:", reason);
});

// While the server is not there the client tries again by itself, and this is called each time.
socket.on("connect_error", (error) => {
  console.error("Connect error:", error.message);
});

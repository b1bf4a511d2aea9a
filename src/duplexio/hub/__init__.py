"""Socket.IO: namespaces, sockets, rooms, events and acknowledgements, over whatever has `send` and `close`."""

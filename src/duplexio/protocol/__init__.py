"""Bytes and values: no loop, no sockets, no clock of its own."""

"""Clients of other makers, in Java, Rust and Python, against this server, over each of their transports."""

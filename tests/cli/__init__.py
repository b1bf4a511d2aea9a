"""`duplexio client`, as a process of its own."""

"""What a unit of work costs a server, this one and others: see `benchmarks/README.md`."""
